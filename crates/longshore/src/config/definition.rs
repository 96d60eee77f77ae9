//! Defines settings. `settings!` generates everything for a setting from one entry: the flag, the environment variable,
//! the key of the file, the merge of the three, and the [`Setting`] for the printed file and the README's table.
//!
//! Used by `settings.rs`, the list of all settings.

/// The description of a setting.
pub(super) struct Setting {
    /// The table of the key in the file; empty for the top of the file.
    pub(super) table: &'static str,
    pub(super) key: &'static str,
    about: &'static str,
    pub(super) fallback: Fallback,
}

/// The default of a setting.
pub(super) enum Fallback {
    /// This value, as TOML.
    Value(String),
    /// A default in words. The example is a valid value, as TOML.
    Computed { words: &'static str, example: &'static str },
    /// None: the setting is the former name of another one.
    Renamed { to: &'static str },
}

/// The settings of one table of the file.
pub(super) struct Table {
    pub(super) name: &'static str,
    about: &'static str,
    pub(super) settings: Vec<Setting>,
}

impl Table {
    pub(super) fn new(name: &'static str, about: &'static str, settings: Vec<Setting>) -> Self {
        Self { name, about, settings }
    }

    pub(super) fn about(&self) -> impl Iterator<Item = &'static str> {
        self.about.lines().map(str::trim)
    }
}

impl Setting {
    pub(super) fn new(table: &'static str, key: &'static str, about: &'static str, fallback: Fallback) -> Self {
        Self { table, key, about, fallback }
    }

    /// Returns the lines of the description.
    pub(super) fn about(&self) -> impl Iterator<Item = &'static str> {
        self.about.lines().map(str::trim)
    }

    /// Returns the name on the command line: `strangers-job-pids` for `job_pids` of the table `strangers`.
    pub(super) fn flag(&self) -> String {
        self.path("-").replace('_', "-")
    }

    /// Returns the name in the environment: `LONGSHORE_STRANGERS_JOB_PIDS`.
    pub(super) fn variable(&self) -> String {
        format!("LONGSHORE_{}", self.path("_").to_uppercase())
    }

    /// Returns the text for `longshore serve --help`.
    pub(super) fn help(&self) -> String {
        let about = self.about().collect::<Vec<_>>().join(" ");
        match &self.fallback {
            Fallback::Value(toml) => format!("{about} Default: {}", plain(toml)),
            Fallback::Computed { words, .. } => format!("{about} Default: {words}"),
            Fallback::Renamed { to } => format!("The former name of `{to}`"),
        }
    }

    fn path(&self, separator: &str) -> String {
        if self.table.is_empty() { self.key.to_owned() } else { format!("{}{separator}{}", self.table, self.key) }
    }
}

/// Returns a TOML value for a flag: without quotation marks.
pub(super) fn plain(toml: &str) -> &str {
    toml.trim_matches('"')
}

/// Defines the settings of one table of the file. `Given => Merged, "table":` comes first, then an entry per setting:
///
/// ```text
/// /// What it is, in sentences: for `--help`, the printed file and the README.
/// job_pids: u64 ["N"] default(4096);
/// ```
///
/// The type is that of the value, and `"N"` is its name in `--help`. Then follows one of
///
/// * `default(VALUE)`: the field of `Merged` has the type itself;
/// * `computed("the number of cores", 4)`: the field is an `Option`, with the default in words and an example;
/// * `renamed("sandboxes")`: a former name. The field is an `Option`, and hidden in `--help`.
///
/// `#[arg(...)]` between the text and the name is passed to clap. `Given` holds the values of the command line or of
/// the file, all of them optional; `Given::over` merges the two into `Merged`. Nested tables follow as
/// `tables { name: Given => Merged, ... }`.
macro_rules! settings {
    (
        $(#[doc = $title:literal])*
        $given:ident => $merged:ident, $table:literal:
        $(
            $(#[doc = $about:literal])+
            $(#[arg($($arg:tt)*)])?
            $key:ident: $type:ty [$value_name:literal] $kind:ident $default:tt;
        )+
        $(tables { $($nested:ident: $given_nested:ident => $merged_nested:ident),+ $(,)? })?
    ) => {
        #[derive(Debug, Default, Clone, clap::Args, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $given {
            $(
                #[arg(
                    id = concat!($table, ".", stringify!($key)),
                    long = settings!(@setting $table, $key, [$($about),+], $kind $default).flag(),
                    env = settings!(@setting $table, $key, [$($about),+], $kind $default).variable(),
                    help = settings!(@setting $table, $key, [$($about),+], $kind $default).help(),
                    value_name = $value_name,
                    hide = settings!(@hidden $kind),
                )]
                $(#[arg($($arg)*)])?
                pub(super) $key: Option<$type>,
            )+
            $($(
                #[command(flatten)]
                #[serde(default)]
                pub(super) $nested: $given_nested,
            )+)?
        }

        /// The merged settings.
        pub(super) struct $merged {
            $(pub(super) $key: settings!(@type $kind $type),)+
            $($(pub(super) $nested: $merged_nested,)+)?
        }

        impl $given {
            /// Merges the command line and the environment (`self`) over the file, and the file over the defaults.
            pub(super) fn over(self, file: Self) -> $merged {
                $merged {
                    $($key: settings!(@merge self.$key.or(file.$key), $kind $default),)+
                    $($($nested: self.$nested.over(file.$nested),)+)?
                }
            }

            pub(super) fn table() -> $crate::config::definition::Table {
                $crate::config::definition::Table::new(
                    $table,
                    concat!($($title, "\n"),*),
                    vec![$(settings!(@setting $table, $key, [$($about),+], $kind $default)),+],
                )
            }
        }
    };

    (@setting $table:literal, $key:ident, [$($about:literal),+], $kind:ident $default:tt) => {
        $crate::config::definition::Setting::new(
            $table,
            stringify!($key),
            concat!($($about, "\n"),+),
            settings!(@default $kind $default),
        )
    };

    // The `Debug` format of a number, a boolean or a plain text is TOML.
    (@default default($value:expr)) => { $crate::config::definition::Fallback::Value(format!("{:?}", $value)) };
    (@default computed($words:literal, $example:literal)) => {
        $crate::config::definition::Fallback::Computed { words: $words, example: stringify!($example) }
    };
    (@default renamed($to:literal)) => { $crate::config::definition::Fallback::Renamed { to: $to } };

    (@type default $type:ty) => { $type };
    (@type computed $type:ty) => { Option<$type> };
    (@type renamed $type:ty) => { Option<$type> };

    (@merge $given:expr, default($value:expr)) => { $given.unwrap_or($value) };
    (@merge $given:expr, computed $default:tt) => { $given };
    (@merge $given:expr, renamed $default:tt) => { $given };

    (@hidden default) => { false };
    (@hidden computed) => { false };
    (@hidden renamed) => { true };
}

pub(super) use settings;
