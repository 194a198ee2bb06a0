//! Which mistakes there are: each has a number that never changes and is never used again.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $title:literal])* $name:ident = $number:literal),* $(,)?) => {
        /// The number of a mistake, as `RUN0101`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $title])* $name,)*
        }

        impl Code {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number as it is shown.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("RUN", $number),)*
                }
            }

            /// One line that says what the code stands for.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($title),*).trim_ascii(),)*
                }
            }

            /// The page about it, in Markdown: why it is wrong, an example, what is said of it, and the example repaired.
            pub fn page(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../../docs/diagnostics/RUN", $number, ".md")),)*
                }
            }
        }
    };
}

codes! {
    // 01: the text of a file
    /// A file cannot be read.
    UnreadableFile = "0101",
    /// A file is not written in its format.
    Syntax = "0102",
    /// A file's ending says no known format.
    UnknownFormat = "0103",
    /// A file says nothing.
    EmptyFile = "0104",
    /// A file says what another format cannot say.
    Unwritable = "0105",

    // 02: the shape of what it says
    /// A key is not known here.
    UnknownKey = "0201",
    /// A required key is missing.
    MissingKey = "0202",
    /// A value has the wrong type.
    WrongType = "0203",
    /// A value is not one of those allowed.
    UnknownChoice = "0204",
    /// A phase has no kind, or more than one.
    PhaseKind = "0205",
    /// The version of the format is not supported.
    Version = "0206",
    /// A text is not a duration.
    BadDuration = "0207",
    /// A number is outside its range.
    OutOfRange = "0208",
    /// A list or text that must say something is empty.
    Empty = "0209",
    /// Two keys say the same thing.
    SaidTwice = "0210",

    // 03: names
    /// An id is not written as ids are.
    BadId = "0301",
    /// Two phases have the same id.
    DuplicatePhase = "0302",
    /// There is no role of this id.
    UnknownRole = "0303",
    /// There is no phase of this id.
    UnknownPhase = "0304",
    /// There is no tool of this name.
    UnknownTool = "0305",
    /// There is no event of this name.
    UnknownEvent = "0306",
    /// Nothing uses a role.
    UnusedRole = "0307",
    /// Nothing uses an input.
    UnusedInput = "0308",
    /// An entry of a list stands there twice.
    DuplicateEntry = "0309",

    // 04: how phases hang together
    /// Phases wait for each other in a circle.
    NeedsCycle = "0401",
    /// A monitor watches what is no workers phase.
    WatchesNoWorkers = "0402",
    /// A monitor cannot run beside the phase that it watches.
    WatchesApart = "0403",
    /// A phase can never start.
    Unreachable = "0404",
    /// More sessions are declared than a run may have.
    TooManySessions = "0405",
    /// A setting has no effect.
    IgnoredSetting = "0406",
    /// A worker that claims has nothing to claim with.
    NoIssueTool = "0407",
    /// A key does not go with the kind of the phase.
    WrongKey = "0408",
    /// A limit in dollars cannot be kept, because a model has no price.
    UnpricedModel = "0410",
    /// A price is given for a model that no role asks.
    UnusedPrice = "0411",
    /// A scenario cannot be included.
    BadInclude = "0412",
    /// No worker takes an issue of the scenario.
    Starved = "0413",
    /// Nobody makes an issue for the workers of a pool.
    Unfed = "0414",
    /// A monitor has nothing to help with.
    IdleMonitor = "0415",
    /// A condition always comes out the same.
    ConstantCondition = "0416",

    // 05: inputs, paths, prompts and conditions
    /// A path leaves the project root.
    PathLeavesRoot = "0501",
    /// There is no such prompt file.
    MissingPrompt = "0502",
    /// A template is not written as templates are.
    TemplateSyntax = "0503",
    /// A template cannot be rendered.
    TemplateFailure = "0504",
    /// A condition is not an expression.
    ConditionSyntax = "0505",
    /// A condition cannot be evaluated.
    ConditionFailure = "0506",
    /// There is no input of this name.
    UnknownInput = "0507",
    /// An input has no value.
    MissingInput = "0508",
    /// The value of an input does not fit its declaration.
    BadInput = "0509",
    /// A value that is set on the command line has no place in the file.
    BadChange = "0510",
    /// A fault names no model call of the scenario.
    BadFault = "0511",
    /// A schema of an answer cannot be used.
    BadSchema = "0512",
    /// An issue of the scenario cannot be made.
    BadSeed = "0513",
    /// A secret would be shown to a model or kept in a recording.
    SecretShown = "0514",

    // 06: mount plans
    /// There is no such mount plan.
    MissingMountPlan = "0601",
    /// There is no module of this name.
    UnknownModule = "0602",
    /// A module cannot be used in this place.
    WrongModuleKind = "0603",
    /// A variable of the environment is not set.
    UnsetVariable = "0604",
    /// A module does not know a key of its configuration.
    UnknownConfigKey = "0605",
    /// A module cannot use the value of a configuration key.
    BadConfigValue = "0606",
    /// A module stands in a mount plan twice.
    DuplicateModule = "0607",
    /// A mount plan has no provider.
    NoProvider = "0608",
    /// A part of a mount plan has no effect here.
    IgnoredMount = "0609",

    // 07: the machine
    /// A credential is missing.
    MissingCredential = "0701",
    /// Nobody searches the web.
    MissingBackend = "0702",

    // 09: the run
    /// A condition on the outcome is false.
    ExpectationFailed = "0901",
}

impl Code {
    /// The code of this number, `RUN0101` or `0101`.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.to_ascii_uppercase();
        Self::ALL.iter().copied().find(|code| code.as_str() == text || code.as_str()[3..] == *text)
    }

    /// The exit code of a program that ends because of it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::MissingCredential | Self::MissingBackend | Self::UnsetVariable => 3,
            Self::ExpectationFailed => 5,
            _ => 2,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_are_read_back() {
        assert!(Code::ALL.is_sorted_by(|a, b| a.as_str() < b.as_str()));
        for code in Code::ALL {
            assert_eq!(Code::from_text(code.as_str()), Some(*code));
            assert!(code.title().ends_with('.'), "{code}");
        }
        assert_eq!(Code::from_text("run0201"), Some(Code::UnknownKey));
        assert_eq!(Code::from_text("0201"), Some(Code::UnknownKey));
        assert_eq!(Code::from_text("RUN9999"), None);
    }
}
