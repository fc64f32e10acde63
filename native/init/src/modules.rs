//! Kernel modules of the initrd, loaded in the order of a list that the image build wrote.

use crate::report::{Doing, Failure};
use rustix::io::Errno;
use std::{ffi::CStr, fs, path::Path};

const NO_PARAMETERS: &CStr = c"";

/// Loads each file named in `<folder>/order`. One that the kernel already has is no error.
pub fn load_all(folder: &Path) -> Result<(), Failure> {
    let order = fs::read_to_string(folder.join("order")).doing("reading the module order")?;
    for name in order.lines().filter(|name| !name.is_empty()) {
        let file = fs::File::open(folder.join(name)).doing(name)?;
        match rustix::system::finit_module(&file, NO_PARAMETERS, 0) {
            Err(Errno::EXIST) => {}
            outcome => outcome.doing(&format!("loading {name}"))?,
        }
    }
    Ok(())
}
