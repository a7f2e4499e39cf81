//! How SQL is kept: constants of one subject side by side, listed so that a test can prepare every one.

/// Declares statements as constants and lists them as `ALL`.
macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        $(const $name: &str = $sql;)*
        /// Name and text of every statement of this file.
        pub(in crate::store) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}
