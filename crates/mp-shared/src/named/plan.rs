//! Objects under a name: made in a file without one, written, and only then given their name.

use std::cell::OnceCell;
use std::sync::Arc;

use super::claim::Claim;
use super::file::{self, Draft};
use super::{context, name};
use crate::home::Home;
use crate::object::{Object, Shape};
use crate::segment::{HEADER_LEN, NAMED_KIND, Segment};
use crate::{Error, ErrorKind};

/// The name that an object shall have, and, once there is one, the file that it is made in.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    name: &'a str,
    file: OnceCell<(Draft, Arc<Claim>)>,
}

impl Plan<'_> {
    /// Makes memory of `bytes` bytes, all zero, in a file that will have the name. There is one object in it.
    pub(crate) fn place(&self, bytes: usize) -> Result<(Segment, Arc<Claim>), Error> {
        let failed = |error| context("create", self.name, error);
        let draft = Draft::new(bytes.saturating_add(HEADER_LEN) as u64).map_err(failed)?;
        let fd = draft.file().try_clone().map_err(failed)?;
        let maker = name::maker();
        let segment = Segment::create_in(fd, NAMED_KIND, bytes, maker)?;
        let claim = Arc::new(Claim::new(self.name, draft.identity()));
        if self.file.set((draft, Arc::clone(&claim))).is_err() {
            let what = "what is made of several objects cannot have a name";
            return Err(Error::new(ErrorKind::Unsupported, what));
        }
        Ok((segment, claim))
    }
}

/// Makes an object under a name, of which this process is the owner.
///
/// `make` creates one object in the home that it is given, and writes what others shall find in it.
pub(crate) fn create<T>(
    name: &str,
    make: impl FnOnce(Home<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let name = name::check(name)?;
    let failed = |error| context("create", name, error);
    file::refuse_taken(name).map_err(failed)?;
    let plan = Plan { name, file: OnceCell::new() };
    let object = make(Home::Named(&plan))?;
    if let Some((draft, claim)) = plan.file.into_inner() {
        draft.publish(name).map_err(failed)?;
        claim.take();
    }
    Ok(object)
}

/// As [`create`], under a name that nobody has.
pub(crate) fn create_new<T>(
    mut make: impl FnMut(Home<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        match create(&name::generate(), &mut make) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => return other,
        }
    }
}

/// Opens the object that has the name, if it is one of this shape.
pub(crate) fn open(name: &str, shape: Shape) -> Result<Object, Error> {
    let name = name::check(name)?;
    let (fd, identity) = file::open(name).map_err(|error| context("open", name, error))?;
    let object = Segment::attach(fd, NAMED_KIND).and_then(|segment| {
        let claim = Arc::new(Claim::new(name, identity));
        Object::open_in(&segment, shape, claim)
    });
    object.map_err(|error| {
        Error::with_source(error.kind(), format!("cannot open the shared memory {name:?}"), error)
    })
}
