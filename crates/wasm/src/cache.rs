//! A cache of compiled guests on disk: compiling one takes half a second or more, loading a compiled one a few milliseconds.

use crate::fetch::sha256;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tracing::{debug, warn};
use wasmtime::{Engine, Module};

/// Length of the digest that follows the compiled code.
const DIGEST_BYTES: usize = 64;

/// Where compiled guests are kept by default: `SECONDMATE_GUEST_CACHE`, or a folder in the user's cache directory. `None` if there is
/// neither.
#[must_use]
pub fn default_cache_folder() -> Option<PathBuf> {
    let folder = |variable: &str| std::env::var_os(variable).filter(|v| !v.is_empty()).map(PathBuf::from);
    folder("SECONDMATE_GUEST_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|caches| caches.join("secondmate/guests")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/secondmate/guests")))
}

/// The module for these bytes, compiled now or taken from the cache. If the cache cannot be used, that is not an error.
pub(crate) fn compile(engine: &Engine, bytes: &[u8], folder: Option<&Path>) -> wasmtime::Result<Module> {
    let Some(folder) = folder.filter(|folder| is_private(folder)) else { return Module::new(engine, bytes) };
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let file = folder.join(format!("{}-{:016x}.compiled", sha256(bytes), hasher.finish()));
    if let Some(module) = read(engine, &file) {
        return Ok(module);
    }
    let module = Module::new(engine, bytes)?;
    let written = module.serialize().map_err(io::Error::other).and_then(|code| write(&file, &code));
    if let Err(error) = written {
        warn!("the compiled guest is not kept in {}: {error}: each start compiles it", file.display());
    }
    Ok(module)
}

/// Whether a folder with this owner and mode can be written to only by this user: whoever owns it may put anything into it.
fn is_private_to(user: u32, owner: u32, mode: u32) -> bool {
    owner == user && mode & 0o022 == 0
}

/// Whether nobody else can have put anything into the folder. It is created if it does not exist.
fn is_private(folder: &Path) -> bool {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let checked = made.and_then(|()| std::fs::metadata(folder));
    match checked {
        Ok(metadata)
            if is_private_to(
                rustix::process::geteuid().as_raw(),
                metadata.uid(),
                metadata.permissions().mode(),
            ) =>
        {
            true
        }
        Ok(_) => {
            warn!(
                "compiled guests are not kept in {}, since others own it or may write there: each start compiles them",
                folder.display()
            );
            false
        }
        Err(error) => {
            warn!("compiled guests are not kept in {}: {error}: each start compiles them", folder.display());
            false
        }
    }
}

fn write(file: &Path, code: &[u8]) -> io::Result<()> {
    let text = [code, sha256(code).as_bytes()].concat();
    let half = file.with_extension(format!("{}", std::process::id()));
    std::fs::write(&half, text)?;
    std::fs::rename(&half, file)
}

/// The compiled module from the cache, if it is intact.
fn read(engine: &Engine, file: &Path) -> Option<Module> {
    let bytes = std::fs::read(file).ok()?;
    let (code, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if sha256(code).as_bytes() != digest {
        debug!("{} is damaged, so the guest is compiled anew", file.display());
        return None;
    }
    #[allow(unsafe_code, reason = "there is no other way to load compiled code")]
    // SAFETY: the code is the output of `Module::serialize`: only this user can write to the folder, and whoever can write there can
    // replace this program as well. The digest detects truncated or damaged files, the engine those written by another version.
    let module = unsafe { Module::deserialize(engine, code) };
    module.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compiled_is_found_again_and_what_is_damaged_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("deep/down");
        let engine = Engine::default();
        let bytes = wat::parse_str("(module (memory (export \"memory\") 1))").expect("text");
        compile(&engine, &bytes, Some(&cache)).expect("compiled");
        let files: Vec<PathBuf> =
            std::fs::read_dir(&cache).expect("made").map(|entry| entry.expect("one").path()).collect();
        let [file] = &files[..] else { panic!("{files:?}") };
        assert!(read(&engine, file).is_some());
        let mut damaged = std::fs::read(file).expect("there");
        damaged[10] ^= 1;
        std::fs::write(file, damaged).expect("ours");
        assert!(read(&engine, file).is_none());
        compile(&engine, &bytes, Some(&cache)).expect("compiled anew");
        assert!(read(&engine, file).is_some());
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(is_private(folder.path()));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("ours");
        assert!(!is_private(folder.path()));
    }

    #[test]
    fn a_folder_that_belongs_to_somebody_else_is_not_used() {
        let private = |owner, mode| is_private_to(1000, owner, mode);
        assert!(private(1000, 0o40700) && private(1000, 0o40755));
        assert!(!private(0, 0o40755) && !private(1001, 0o40700) && !private(1000, 0o40775));
    }
}
