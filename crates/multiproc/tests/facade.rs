//! Every name that the facade has at its root and every crate that is a module of it, used once.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::time::Duration;

fn double(x: u32) -> u32 {
    2 * x
}

/// SM-01
#[test]
fn a_context_makes_everything() {
    use multiproc::Factories;
    for method in multiproc::get_all_start_methods() {
        let context: multiproc::Context = multiproc::get_context(method);
        if method != multiproc::StartMethod::Fork {
            assert_eq!(context.process(double, (4,)).start().unwrap().join().unwrap(), 8);
            assert_eq!(context.pool(1).unwrap().start_method(), method);
            assert!(context.manager().unwrap().is_alive());
        }
        // A pool has threads.
        assert_ne!(context.pool(1).unwrap().start_method(), multiproc::StartMethod::Fork);
        context.queue().unwrap().put(&1).unwrap();
        context.simple_queue().unwrap().put(&1).unwrap();
        context.joinable_queue::<u8>().unwrap().join().unwrap();
        assert_eq!(context.bounded_queue::<u8>(3).unwrap().capacity(), Some(3));
        let (here, there) = context.pipe::<u8>().unwrap();
        here.send(&1).unwrap();
        assert_eq!(there.recv().unwrap(), 1);
        assert!(context.lock().unwrap().lock().is_ok());
        assert!(context.rlock().unwrap().lock().is_ok());
        context.condition().unwrap().notify_all();
        assert!(context.semaphore(1).unwrap().acquire().is_ok());
        assert!(context.bounded_semaphore(1).unwrap().release().is_err());
        context.event().unwrap().set();
        assert_eq!(context.barrier(1).unwrap().wait().unwrap(), 0);
        assert_eq!(context.value(5).unwrap().get().unwrap(), 5);
        assert_eq!(context.array::<u8>(2).unwrap().to_vec().unwrap(), [0, 0]);
        assert_eq!(context.raw_value(6).unwrap().load(), 6);
        assert_eq!(context.raw_array::<u8>(2).unwrap().to_vec(), [0, 0]);
    }
}

#[test]
fn every_name_at_the_root() {
    let child: multiproc::Child<u32> = multiproc::Process::new(double, (21,))
        .start_method(multiproc::StartMethod::Forkserver)
        .start()
        .unwrap();
    let _: Vec<_> = multiproc::active_children();
    assert_eq!(child.join().unwrap(), 42);
    assert_eq!(multiproc::current_process().pid(), std::process::id());
    assert!(multiproc::parent_process().is_none());
    assert!(multiproc::cpu_count() > 0);

    assert_eq!(multiproc::get_all_start_methods()[0], multiproc::get_start_method());
    let set = || multiproc::set_start_method(multiproc::StartMethod::Forkserver);
    assert!(set().is_ok() && set().is_err());
    assert!(multiproc::at_exit(0, || ()).cancel());
    assert!(multiproc::scope(|s| s.spawn(|| 1).is_err()).unwrap(), "the harness has threads");

    let pool = multiproc::Pool::new(1).unwrap();
    let result: multiproc::AsyncResult<u32> = pool.apply_async(double, (4,)).unwrap();
    let result: Result<u32, multiproc::TaskError> = result.get();
    assert_eq!(result.unwrap(), 8);

    let queue = multiproc::Queue::new().unwrap();
    queue.put(&1).unwrap();
    assert_eq!(queue.get().unwrap(), 1);

    let plain = multiproc::PlainQueue::new().unwrap();
    plain.put(&[1_u64, 2]).unwrap();
    assert_eq!(multiproc::wait_any(&[&queue, &plain], Some(Duration::ZERO)).unwrap(), [1]);
    let mut select = multiproc::Select::new();
    select.add(&plain);
    assert_eq!(select.try_ready().unwrap(), Some(0));
    let joinable = multiproc::JoinableQueue::new().unwrap();
    joinable.put(&1).unwrap();
    let task: multiproc::Task<i32> = joinable.take().unwrap();
    assert_eq!(task.done().unwrap(), 1);
    let ordered = multiproc::PriorityQueue::new().unwrap();
    ordered.put(1, &'b').unwrap();
    ordered.put(0, &'a').unwrap();
    let stack = multiproc::LifoQueue::new().unwrap();
    stack.put(&ordered.get().unwrap()).unwrap();
    assert_eq!(stack.get().unwrap(), 'a');
    assert!(multiproc::SimpleQueue::<u8>::new().unwrap().is_empty());
    let bytes = multiproc::BytesQueue::new().unwrap();
    bytes.put(b"in place").unwrap();
    assert_eq!(&*bytes.get_ref().unwrap(), b"in place");

    let executor = multiproc::ProcessPoolExecutor::new(1).unwrap();
    let future: multiproc::Future<u32> = executor.submit(double, (5,)).unwrap();
    let done: Vec<_> = multiproc::as_completed([future]).collect();
    assert_eq!(done.len(), 1);
    let threads = multiproc::ThreadPool::new(1).unwrap();
    assert_eq!(threads.map(double, [1, 2]).unwrap(), [2, 4]);

    let (here, there): (multiproc::Connection<u8>, _) = multiproc::pipe().unwrap();
    here.send(&1).unwrap();
    assert_eq!(multiproc::wait(&[&there], Some(Duration::ZERO)).unwrap(), [0]);
    let listener = multiproc::Listener::<u8>::bind(("localhost", 0)).unwrap();
    let client: multiproc::Connection<u8> = multiproc::Client::connect(listener.address()).unwrap();
    client.send(&4).unwrap();
    assert_eq!(listener.accept().unwrap().recv().unwrap(), 4);
    let (sender, receiver) = multiproc::simplex::<u8>().unwrap();
    sender.send(&2).unwrap();
    assert_eq!((there.recv().unwrap(), receiver.recv().unwrap()), (1, 2));

    assert_eq!(multiproc::Value::new(5).unwrap().get().unwrap(), 5);
    assert_eq!(multiproc::Array::from_slice(&[1, 2]).unwrap().to_vec().unwrap(), [1, 2]);
    assert_eq!(multiproc::RawValue::new(6).unwrap().load(), 6);
    assert_eq!(multiproc::RawArray::<u8>::new(2).unwrap().to_vec(), [0, 0]);
    assert!(multiproc::Lock::new().unwrap().lock().is_ok());
    assert!(multiproc::RLock::new().unwrap().lock().is_ok());
    assert_eq!(*multiproc::RwLock::new(1).unwrap().read().unwrap(), 1);
    assert!(multiproc::Semaphore::new(1).unwrap().acquire().is_ok());
    assert!(multiproc::BoundedSemaphore::new(1).unwrap().release().is_err());
    multiproc::Condition::new().unwrap().notify_all();
    assert_eq!(multiproc::Barrier::new(1).unwrap().wait().unwrap(), 0);
    assert!(multiproc::Once::new().unwrap().call_once(|_| ()).is_ok());
    assert_eq!(multiproc::AtomicValue::new(7).unwrap().fetch_add(1), 7);
    assert_eq!(multiproc::SharedVec::from_slice(&[1, 2]).unwrap().pop().unwrap(), Some(2));
    assert_eq!(multiproc::ChunkedArray::from_slice(&[1, 2], 1).unwrap().get(1).unwrap(), 2);
    let scope = multiproc::SharedMemoryManager::new();
    let list: multiproc::ShareableList = scope.shareable_list([1.into()]).unwrap();
    assert_eq!(list.get(0).unwrap(), 1.into());
    let event = multiproc::Event::new().unwrap();
    event.set();
    event.wait();
    let memory = multiproc::SharedMemory::new(10).unwrap();
    assert!(multiproc::SharedMemory::open(memory.name()).is_ok());

    let manager = multiproc::Manager::start().unwrap();
    manager.list::<u8>().unwrap().push(&3).unwrap();
}

#[test]
fn every_crate_is_a_module() {
    assert_eq!(multiproc::process::cpu_count(), multiproc::cpu_count());
    assert!(multiproc::pool::Pool::new(0).is_err());
    assert!(multiproc::queue::Queue::<u8>::bounded(1).unwrap().is_empty());
    assert!(multiproc::pipe::simplex::<u8>().is_ok());
    assert!(multiproc::shared::Lock::new().is_ok());
    assert_eq!(multiproc::wire::encode(&7_u8).unwrap().bytes, [7]);
    let manager = multiproc::manager::Manager::start().unwrap();
    assert!(manager.is_alive());
}
