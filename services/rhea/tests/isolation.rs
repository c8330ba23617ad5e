//! What an action can't reach.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use support::{Bench, shell};
use vx_core::{CheckoutMode, Execution, PackageFormat, PackageInput, RelPath};

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_network_but_loopback() {
    let bench = Bench::new().await;
    let script = "no bash -c 'exec 3<>/dev/tcp/1.1.1.1/80'; \
                  bash -c 'exec 3<>/dev/tcp/1.1.1.1/80' 2>&1 | grep -q unreachable; \
                  grep : /proc/net/dev | cut -d: -f1";
    let outcome = bench.shell(script).await.succeeded();
    assert_eq!(outcome.text("stdout").trim(), "lo");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_declared_is_there() {
    let bench = Bench::new().await;
    let hidden = bench.directory();
    let secret = bench.checkout.path().with_extension("secret");
    std::fs::write(&secret, "secret").unwrap();
    let script = format!(
        "no cat {secret}; no ls {hidden}; no ls /root; no ls /var; no ls /sys; \
         test -z \"$(ls -A /vx/home)\"; test -z \"$(ls -A /tmp)\"; \
         ls -A /; ls -A /etc; ls -A /dev; ls -A /vx; cat /etc/passwd; id -u; \
         cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l; hostname",
        secret = secret.display(),
        hidden = hidden.display(),
    );
    let text = bench.shell(&script).await.succeeded().text("stdout");
    std::fs::remove_file(secret).unwrap();
    let has = |line: &str| text.lines().any(|one| one == line);
    for place in [
        "usr",
        "proc",
        "dev",
        "tmp",
        "vx",
        "etc",
        "null",
        "the-checkout-at-its-fixed-place",
        "toolchain",
    ] {
        assert!(has(place), "{place}: {text}");
    }
    for place in [
        "home", "root", "var", "sys", "run", "shadow", "hostname", "tty",
    ] {
        // `home` is there once, below /vx.
        let times = usize::from(place == "home");
        let found = text.lines().filter(|line| *line == place).count();
        assert_eq!(found, times, "{place}: {text}");
    }
    assert!(has("1000"), "an ordinary user: {text}");
    assert!(has("vx"), "{text}");
    assert!(text.contains("vx:x:1000:1000:vx:/vx/home:/bin/sh"));
    assert!(
        !text.contains("daemon"),
        "the host's users are not there: {text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_written_but_temporary_files() {
    let bench = Bench::new().await;
    bench.write("file", "as it was");
    let script = "for place in / /vx /vx/home /vx/the-checkout-at-its-fixed-place /vx/toolchain /usr /etc; do \
                    if touch $place/new 2>/dev/null; then echo wrote $place; exit 1; fi; \
                  done; \
                  if echo x >> /vx/the-checkout-at-its-fixed-place/file; then exit 1; fi; \
                  touch /tmp/new /dev/shm/new; echo ok > /dev/null";
    bench.shell(script).await.succeeded();
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_stay_read_only_whatever_is_tried() {
    let bench = Bench::new().await;
    let mut action = shell(
        "file=/vx/target/debug/deps/liba.rmeta; write=\"echo x > $file\"; \
         no chmod u+w $file; no sh -c \"$write\"; no rm $file; no touch /vx/target/new; \
         no mount -o remount,bind,rw /vx/target; \
         no unshare -Urm true; \
         no unshare -Urm mount -o remount,bind,rw /vx/target; \
         no unshare -Urm umount /vx/target; \
         no unshare -Urm chmod u+w $file; \
         no unshare -Urm sh -c \"$write\"; \
         cat $file",
    );
    action.files = vec![bench.file("/vx/target/debug/deps/liba.rmeta", "content", false)];
    assert_eq!(
        bench.run(action).await.succeeded().text("stdout"),
        "content"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_stay_read_only_and_whole_for_the_next_action() {
    let bench = Bench::new().await;
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(7);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "src/lib.rs", &b"content"[..])
        .unwrap();
    let archive = bench.store.add(builder.into_inner().unwrap());
    let mut action = shell(
        "cd /vx/registry/0123/a-1.0.0; no touch new; no chmod u+w src/lib.rs; no rm src/lib.rs; \
         no unshare -Urm sh -c 'echo x > src/lib.rs'; cat src/lib.rs",
    );
    action.packages = vec![PackageInput {
        at: "/vx/registry/0123/a-1.0.0".to_owned(),
        archive: archive.digest,
        format: PackageFormat::Tar,
    }];
    for _ in 0..2 {
        let outcome = bench.run(action.clone()).await.succeeded();
        assert_eq!(outcome.text("stdout"), "content");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_directories_are_found_empty() {
    let bench = Bench::new().await;
    bench.write(".vx/secret", "secret");
    bench.write("target/debug/old", "old");
    bench.write("src/lib.rs", "seen");
    let hide = |path: &str| RelPath::new(path).unwrap();
    for mode in [CheckoutMode::ReadOnly, CheckoutMode::PrivateLayer] {
        let mut action = shell(
            "test -z \"$(ls -A .vx)\"; test -z \"$(ls -A target)\"; test ! -e absent; \
             cat src/lib.rs",
        );
        action.cwd = "/vx/the-checkout-at-its-fixed-place".to_owned();
        let mut checkout = bench.mount(mode).unwrap();
        checkout.hidden = vec![
            hide(".vx"),
            hide("target"),
            hide("absent"),
            hide("src/lib.rs"),
        ];
        action.checkout = Some(checkout);
        assert_eq!(bench.run(action).await.succeeded().text("stdout"), "seen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_executors_own_directory_is_hidden_in_a_checkout_that_holds_it() {
    let mut bench = Bench::new().await;
    let inner = bench.checkout.path().join("home/rhea");
    let rhea = support::start(&inner).await;
    let mut action = shell(
        "test -z \"$(ls -A /vx/the-checkout-at-its-fixed-place/home/rhea)\"; ls /vx/the-checkout-at-its-fixed-place/home",
    );
    action.checkout = bench.mount(CheckoutMode::ReadOnly);
    bench.rhea = rhea.into();
    assert_eq!(bench.run(action).await.succeeded().text("stdout"), "rhea\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_privilege_is_left() {
    let bench = Bench::new().await;
    let script = "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs)' /proc/self/status; \
                  ulimit -c; umask";
    let text = bench.shell(script).await.succeeded().text("stdout");
    let capabilities: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("Cap"))
        .collect();
    assert_eq!(capabilities.len(), 5);
    assert!(
        capabilities
            .iter()
            .all(|line| line.ends_with("0000000000000000")),
        "{text}"
    );
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(text.ends_with("0\n0022\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_start_is_said() {
    let bench = Bench::new().await;
    let mut no_program = shell("");
    no_program.argv = vec!["/vx/target/nothing".to_owned()];
    let mut no_directory = shell("");
    no_directory.cwd = "/vx/nowhere".to_owned();
    for (action, names) in [
        (no_program, "/vx/target/nothing"),
        (no_directory, "/vx/nowhere"),
    ] {
        match bench.try_run(action).await.0.unwrap() {
            Execution::Unable(reason) => assert!(reason.contains(names), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}
