//! Finding whoever listens, over real sockets.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Instant;

use vx_core::orchestrator::{BuildEvent, MessageLevel};
use vx_rpc::{Endpoint, Secret, Server, ServerHandle};

use super::*;
use crate::commands::build;
use crate::commands::test_support::{Scripted, request, succeeded};
use crate::exit_code::ExitCode;
use crate::output::Look;
use crate::output::test_support::Screen;

struct Place {
    _directory: tempfile::TempDir,
    home: Home,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("home");
        let home = Home::locate(Some(path.into()), None).unwrap();
        home.prepare().unwrap();
        Self {
            _directory: directory,
            home,
        }
    }

    async fn serve(&self, orchestrator: Scripted, build: Option<&str>) -> ServerHandle {
        let secret = Secret::load_or_create(&self.home.secret()).unwrap();
        let endpoint = Endpoint::unix(self.home.socket()).unwrap();
        let mut builder = Server::builder("vx-aether", endpoint, secret);
        if let Some(build) = build {
            builder = builder.build_id(build);
        }
        builder
            .serve_orchestrator(Arc::new(orchestrator))
            .start()
            .await
            .unwrap()
    }

    async fn find(&self) -> CommandResult<Found> {
        Connector::new(self.home.clone())?.find().await
    }
}

fn message() -> BuildEvent {
    BuildEvent::Message {
        level: MessageLevel::Rendered,
        text: "words".to_owned(),
    }
}

#[tokio::test]
async fn nobody_is_found_without_a_socket_and_behind_a_dead_one() {
    let place = Place::new();
    assert!(matches!(place.find().await, Ok(Found::Nobody)));
    Secret::load_or_create(&place.home.secret()).unwrap();
    assert!(matches!(place.find().await, Ok(Found::Nobody)));
    drop(UnixListener::bind(place.home.socket()).unwrap());
    assert!(place.home.socket().exists());
    assert!(matches!(place.find().await, Ok(Found::Nobody)));
}

#[tokio::test]
async fn ours_builds_over_the_wire() {
    let place = Place::new();
    let scripted = Scripted::new(vec![message()], Some(Ok(succeeded())));
    let _server = place.serve(scripted, None).await;
    let connector = Connector::new(place.home.clone()).unwrap();
    let screen = Screen::default();
    let mut shell = screen.shell(Look::default());
    let orchestrator = connector.start(&mut shell).await.unwrap();
    build::build(&*orchestrator, request(), &mut shell, Instant::now())
        .await
        .unwrap();
    assert!(screen.take().starts_with("words\n"));
}

#[tokio::test]
async fn an_orchestrator_that_dies_ends_the_build_with_its_own_code() {
    let place = Place::new();
    let server = place
        .serve(Scripted::new(vec![message()], None), None)
        .await;
    let connector = Connector::new(place.home.clone()).unwrap();
    let screen = Screen::default();
    let mut shell = screen.shell(Look::default());
    let orchestrator = connector.start(&mut shell).await.unwrap();
    let dying = async {
        let mut clients = server.connections();
        clients.wait_for(|count| *count > 0).await.unwrap();
        drop(server);
    };
    let building = build::build(&*orchestrator, request(), &mut shell, Instant::now());
    let (result, ()) = tokio::join!(building, dying);
    let error = result.unwrap_err();
    assert_eq!(error.code, ExitCode::Engine, "{error:?}");
    assert!(error.help.is_some());
}

#[tokio::test]
async fn another_build_is_told_apart_with_and_without_a_secret() {
    let place = Place::new();
    let _server = place
        .serve(Scripted::new(vec![], None), Some("other"))
        .await;
    for _ in 0..2 {
        match place.find().await.unwrap() {
            Found::OtherBuild(theirs) => assert_eq!(theirs.build, "other"),
            _ => panic!("not told apart"),
        }
        let _gone_already = std::fs::remove_file(place.home.secret());
    }
}

#[tokio::test]
async fn a_secret_that_does_not_fit_is_an_error_that_says_what_to_do() {
    let place = Place::new();
    let _server = place.serve(Scripted::new(vec![], None), None).await;
    std::fs::remove_file(place.home.secret()).unwrap();
    let missing = place.find().await.err().unwrap();
    Secret::load_or_create(&place.home.secret()).unwrap();
    let other = place.find().await.err().unwrap();
    for error in [missing, other] {
        assert_eq!(error.code, ExitCode::Engine);
        assert!(error.help.unwrap().contains("vx stop"));
    }
}

#[tokio::test]
async fn garbage_on_the_socket_is_an_error() {
    let place = Place::new();
    let listener = UnixListener::bind(place.home.socket()).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[0xff; 4096]).unwrap();
    });
    let error = place.find().await.err().unwrap();
    assert_eq!(error.code, ExitCode::Engine);
    answering.join().unwrap();
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_with_what_to_do() {
    let place = Place::new();
    let error = spawn(&place.home, std::path::Path::new("/nonexistent/vx-aether"))
        .await
        .unwrap_err();
    assert_eq!(error.code, ExitCode::Engine);
    assert!(error.help.unwrap().contains(PROGRAM_VARIABLE));
}

#[tokio::test]
async fn a_program_that_can_not_serve_is_told_with_its_log() {
    let place = Place::new();
    let error = spawn(&place.home, std::path::Path::new("/bin/false"))
        .await
        .unwrap_err();
    assert!(error.help.unwrap().contains("aether.log"));
}

#[test]
fn the_program_is_beside_vx_unless_it_is_named() {
    let beside = program(None, Some("/opt/bin/vx".into()));
    assert_eq!(beside, std::path::Path::new("/opt/bin/vx-aether"));
    let beside = program(Some("".into()), Some("/opt/bin/vx".into()));
    assert_eq!(beside, std::path::Path::new("/opt/bin/vx-aether"));
    let named = program(Some("/x/a".into()), Some("/opt/bin/vx".into()));
    assert_eq!(named, std::path::Path::new("/x/a"));
}
