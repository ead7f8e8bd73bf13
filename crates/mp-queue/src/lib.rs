//! Queues between processes in shared memory that survive the death of any participant
