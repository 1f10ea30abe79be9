//! Flags to configuration to a running server. Exit codes are decided here only: 0 ended as asked, 1 failed, 2 wrong usage
//! or configuration.

use clap::Parser;
use fanwire::cli::{Command, CommandLine, File, Overrides, VERSION};
use fanwire::clock::Clock;
use fanwire::config::{Config, Log, LogFormat, LogLevel};
use fanwire::server::{self, Running};
use fanwire::storage::Unusable;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::WorkerGuard;

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Dev { overrides } => serve(Config::dev().overridden(&overrides), None, &overrides),
        Command::Serve { file, overrides } => match read(&file) {
            Ok(config) => serve(config.overridden(&overrides), Some(&file), &overrides),
            Err(error) => wrong(&*error),
        },
        Command::Check { file } => match read(&file) {
            Ok(_) => {
                println!("{}: fine", file.path.display());
                ExitCode::SUCCESS
            }
            Err(error) => wrong(&*error),
        },
    }
}

fn wrong(error: &dyn Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(2)
}

fn read(file: &File) -> Result<Config, Box<dyn Error>> {
    let name = file.path.display().to_string();
    let text = std::fs::read_to_string(&file.path).map_err(|error| format!("{name}: {error}"))?;
    let base = file.path.parent().unwrap_or(Path::new(""));
    Ok(Config::from_toml(&text, &name, base)?)
}

fn serve(config: Config, file: Option<&File>, overrides: &Overrides) -> ExitCode {
    // The guard writes out what is still queued when it goes.
    let _guard = log(&config.log);
    match run(config, file, overrides) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "fanwire ends");
            let error = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            // Like a wrong configuration: somebody has to do something about it first.
            ExitCode::from(if error.is_some_and(|error| error.is::<Unusable>()) { 2 } else { 1 })
        }
    }
}

fn run(config: Config, file: Option<&File>, overrides: &Overrides) -> Result<(), Box<dyn Error>> {
    // Before the threads start, so that no signal ends the process in between.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let dev = config.dev;
    let reactors = config.server.reactor_count();
    let running = server::start(config, Clock::start())?;
    tracing::info!(address = %running.address(), admin = %running.admin(), reactors, version = VERSION, "fanwire runs");
    if dev {
        // Nobody may be reading the output any more: that is no reason to end.
        let _ = writeln!(std::io::stdout(), "{}", running.page());
    }
    let handle = signals.handle();
    let failures = running.failures();
    let watch = std::thread::spawn(move || {
        let failure = failures.recv().ok();
        handle.close();
        failure
    });
    for signal in signals.forever() {
        match signal {
            SIGHUP => reload(&running, file, overrides),
            signal => {
                tracing::info!(signal, "draining; a second signal ends at once");
                running.drain();
                std::thread::spawn(move || {
                    if signals.forever().any(|signal| signal != SIGHUP) {
                        tracing::warn!("ending at once");
                        std::process::exit(0);
                    }
                });
                running.join()?;
                tracing::info!("fanwire has ended");
                return Ok(());
            }
        }
    }
    let failure = watch.join().ok().flatten();
    Err(failure.unwrap_or_else(|| "the server ended by itself".into()).into())
}

fn reload(running: &Running, file: Option<&File>, overrides: &Overrides) {
    let Some(file) = file else {
        tracing::warn!("fanwire dev has no file to reload");
        return;
    };
    let result = read(file).map_err(|error| error.to_string()).and_then(|config| running.reload(config.overridden(overrides)));
    match result {
        Ok(()) => tracing::info!(file = %file.path.display(), "reloaded"),
        Err(error) => tracing::error!(%error, "not reloaded: the old configuration stays in force"),
    }
}

/// Records go through a queue that drops rather than wait for a terminal or a disk.
fn log(log: &Log) -> WorkerGuard {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let terminal = std::io::stderr().is_terminal();
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    let as_text = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if as_text {
        subscriber.with_ansi(terminal).with_target(false).init();
    } else {
        subscriber.json().init();
    }
    guard
}
