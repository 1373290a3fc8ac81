//! A terminal that nobody sees: a shell in tmux.

use std::io::{self, Write};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, thread};

use tempfile::TempDir;

use crate::harness::{Agent, LONG, PROGRAM};

/// Whether there is tmux here.
pub fn is_there() -> bool {
    let is_there = Command::new("tmux").arg("-V").output().is_ok_and(|output| output.status.success());
    if !is_there {
        // Not by a macro, whose output the test harness keeps to itself.
        let _ = writeln!(io::stderr(), "SKIPPED: there is no tmux here, so nothing was seen in a terminal");
    }
    is_there
}

/// A server of its own with one window, and in that a shell whose prompt is `$ `. `"$G"` is the program.
pub struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// With the agent's control socket in the environment.
    pub fn open(columns: u16, rows: u16, agent: &Agent) -> Terminal {
        let terminal = Terminal { folder: TempDir::new().unwrap() };
        let settings = [
            format!("PATH={}", env::var("PATH").unwrap()),
            "TERM=screen".to_owned(),
            "PS1=$ ".to_owned(),
            format!("G={PROGRAM}"),
            format!("GRAPEVINE_CONTROL={}", agent.control.display()),
        ];
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut words = vec!["new-session", "-d", "-x", &columns, "-y", &rows, "env", "-i"];
        words.extend(settings.iter().map(String::as_str));
        words.extend([
            "sh",
            "-i",
            ";",
            "set-option",
            "status",
            "off",
            ";",
            "resize-window",
            "-x",
            &columns,
            "-y",
            &rows,
        ]);
        terminal.tmux(&words);
        terminal.shows("the prompt", |screen| screen[0] == "$");
        terminal
    }

    /// Types a line into the shell.
    pub fn run(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.press("Enter");
    }

    /// Presses a key, by tmux's name for it.
    pub fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Every row, without what is blank at its end.
    pub fn screen(&self) -> Vec<String> {
        self.tmux(&["capture-pane", "-p"]).lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// The screen with the escapes of its colours.
    pub fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// How many lines there are if those that did not fit into a row are put together again.
    pub fn unwrapped(&self) -> usize {
        self.tmux(&["capture-pane", "-p", "-J"]).lines().count()
    }

    /// What tmux knows of the terminal: `cursor_flag`, `alternate_on`, …
    pub fn is(&self, flag: &str) -> bool {
        self.tmux(&["display-message", "-p", &format!("#{{{flag}}}")]).trim() == "1"
    }

    /// The process of the shell.
    pub fn shell(&self) -> u32 {
        self.tmux(&["display-message", "-p", "#{pane_pid}"]).trim().parse().unwrap()
    }

    /// Waits until the screen is as it should be, and returns it.
    pub fn shows(&self, what: &str, is_it: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + LONG;
        loop {
            let screen = self.screen();
            if is_it(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "not within {LONG:?}: {what}; it shows\n{}", screen.join("\n"));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn tmux(&self, words: &[&str]) -> String {
        let output = self.command().args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.folder.path().join("tmux")).args(["-f", "/dev/null"]).env_remove("TMUX");
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}
