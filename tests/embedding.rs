// SPDX-License-Identifier: Apache-2.0
//! The example of a proxy that embeds the mover: it runs, it keeps the rules, and the documentation shows its code.

use std::fs;

use assert_cmd::Command;

use crate::harness::{HANG, example as example_path, workspace};

#[test]
fn the_example_moves_slots_of_itself_under_load() {
    let output = example().arg("--quick").assert().success().get_output().clone();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let told = [
        "moving slots 7,700 from ",
        "\nplan: ",
        "\ncutover: ",
        "\ndone: 2 slots at the target\n",
        "clients were held for ",
        " requests, 0 errors, 0 wrong values",
        "\nslot 700 is served by Target\n",
        "\nSUCCESS: no client saw an error or a wrong value\n",
    ];
    let mut rest = &*stdout;
    for part in told {
        let at = rest.find(part).unwrap_or_else(|| panic!("it does not tell `{part}`, or not in its place:\n{stdout}"));
        rest = &rest[at + part.len() - 1..];
    }
}

#[test]
fn the_control_of_the_example_keeps_the_rules() {
    example().arg("--check").assert().success().stdout("SUCCESS: the control keeps every rule of RoutingControl\n");
}

#[test]
fn the_example_fails_with_a_reason() {
    let nowhere = tempfile::tempdir().unwrap().path().join("gone");
    let outcome = example().arg("--quick").env("TMPDIR", &nowhere).assert().code(1);
    let stderr = String::from_utf8(outcome.get_output().stderr.clone()).unwrap();
    assert!(stderr.contains("FAILURE: ") && stderr.contains("gone"), "{stderr}");
    example().arg("--nonsense").assert().code(2);
}

#[test]
fn the_documentation_shows_the_code_of_the_example() {
    let read = |path: &str| fs::read_to_string(workspace().join(path)).unwrap();
    let example = read("mover/examples/embedding_proxy/main.rs");
    let begin = example.find("/// Moves slots from one node to the other").unwrap();
    let length = example[begin..].find("\n}\n").unwrap();
    let code = &example[begin..begin + length + 3];
    assert!(code.contains("Job::builder(slots)"), "{code}");
    assert!(read("README.md").contains(code), "README.md does not show `move_slots` of the example as it is");
    let comment: String = code.lines().map(|line| format!("{}\n", format!("//! {line}").trim_end())).collect();
    assert!(read("mover/src/lib.rs").contains(&comment), "lib.rs does not show `move_slots` of the example as it is");
}

fn example() -> Command {
    let mut command = Command::new(example_path("embedding_proxy"));
    command.timeout(HANG).env_remove("SLOTMOVER_LOG");
    command
}
