//! The heap after a start.

/// Gives back what a start needed for a moment: rows, as they were read. glibc would keep it, and it is more than all
/// the daemon holds afterwards.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    // SAFETY: it takes no pointer, and may be called from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
