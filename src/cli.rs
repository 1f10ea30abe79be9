//! What was typed: the command line, with the environment standing in for flags that are absent.

use crate::config::{LogFormat, LogLevel};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Version, commit and features of this build.
pub const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("FANWIRE_COMMIT"), ", features: ", env!("FANWIRE_FEATURES"), ")");

/// A fan-out server: clients subscribe over the protocol they already speak, backends publish once.
#[derive(Debug, Parser)]
#[command(name = "fanwire", version = VERSION, subcommand_required = true, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run on loopback without a file, in memory only, with credentials that everybody knows
    Dev {
        #[command(flatten)]
        overrides: Overrides,
    },
    /// Run as a configuration file says
    Serve {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        overrides: Overrides,
    },
    /// Read a configuration file and the files it names, and say what is wrong; opens no port
    Check {
        #[command(flatten)]
        file: File,
    },
}

#[derive(Debug, Args)]
pub struct File {
    /// The configuration file (TOML)
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "FANWIRE_CONFIG")]
    pub path: PathBuf,
}

/// What counts more than the configuration file: flags first, then the environment.
#[derive(Debug, Default, Args)]
pub struct Overrides {
    /// Address and port to listen on; several with commas
    #[arg(long, value_name = "ADDRESS", env = "FANWIRE_LISTEN", value_delimiter = ',')]
    pub listen: Option<Vec<SocketAddr>>,
    /// Event loops; 0 = one per core
    #[arg(long, value_name = "N", env = "FANWIRE_REACTORS")]
    pub reactors: Option<u16>,
    /// The least severe records that are logged
    #[arg(long, value_name = "LEVEL", env = "FANWIRE_LOG_LEVEL")]
    pub log_level: Option<LogLevel>,
    /// Text, JSON lines, or text on a terminal only
    #[arg(long, value_name = "FORMAT", env = "FANWIRE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_commands_take_their_flags() {
        let typed = |words: &[&str]| CommandLine::try_parse_from(["fanwire"].iter().chain(words)).map(|line| line.command);
        match typed(&["dev", "--listen", "127.0.0.1:0,[::1]:9", "--reactors", "3"]).unwrap() {
            Command::Dev { overrides } => {
                assert_eq!(overrides.listen, Some(vec!["127.0.0.1:0".parse().unwrap(), "[::1]:9".parse().unwrap()]));
                assert_eq!(overrides.reactors, Some(3));
            }
            other => panic!("{other:?}"),
        }
        match typed(&["serve", "-c", "a.toml", "--log-level", "debug", "--log-format", "json"]).unwrap() {
            Command::Serve { file, overrides } => {
                assert_eq!(file.path, PathBuf::from("a.toml"));
                assert_eq!((overrides.log_level, overrides.log_format), (Some(LogLevel::Debug), Some(LogFormat::Json)));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(typed(&["check", "--config", "a.toml"]).unwrap(), Command::Check { .. }));
        for bad in [&["dev", "-c", "a.toml"][..], &["check", "-c", "a", "--listen", "127.0.0.1:1"], &["dev", "--listen", "80"]] {
            assert!(typed(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn each_flag_has_its_variable() {
        let command = CommandLine::command();
        let serve = command.find_subcommand("serve").unwrap();
        let mut variables: Vec<&str> = serve.get_arguments().filter_map(|arg| arg.get_env()?.to_str()).collect();
        variables.sort_unstable();
        assert_eq!(
            variables,
            ["FANWIRE_CONFIG", "FANWIRE_LISTEN", "FANWIRE_LOG_FORMAT", "FANWIRE_LOG_LEVEL", "FANWIRE_REACTORS"]
        );
    }

    #[test]
    fn the_version_names_commit_and_features() {
        let version = CommandLine::command().render_version();
        assert!(version.starts_with(concat!("fanwire ", env!("CARGO_PKG_VERSION"), " (commit ")), "{version}");
        assert!(version.contains(", features: "), "{version}");
    }
}
