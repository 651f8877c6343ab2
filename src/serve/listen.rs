//! Connections: accepted, limited in number and patience, and ended in good order.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::engine::Engine;

/// Connections at once; others wait for one to end.
const MAX_CONNECTIONS: usize = 1024;
/// How long a client may take to send the head of a request, or stay silent between two.
const HEADER_PAUSE: Duration = Duration::from_secs(60);
/// How long what was sent may stay unacknowledged before the client counts as gone.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// How long requests that run may go on after the signal to stop.
const GRACE: Duration = Duration::from_secs(30);
/// How long to wait after the system refused a connection, for example for want of descriptors.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// How often to look whether the engine lives.
const PULSE: Duration = Duration::from_millis(500);

/// Serves `router` until a signal comes or the engine's `thread` ends.
///
/// # Errors
/// If the system gives no runtime, or no signals.
pub(super) fn run(listener: TcpListener, router: Router, engine: &Engine, thread: &JoinHandle<()>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // Everything slow is the engine's; these only wait, and tokenize.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let dead = async {
            while !thread.is_finished() {
                tokio::time::sleep(PULSE).await;
            }
        };
        tokio::pin!(dead);
        loop {
            let connection = async {
                let place = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
                (listener.accept().await, place)
            };
            tokio::select! {
                (accepted, place) = connection => match accepted {
                    Ok((stream, _)) => {
                        let connection = serve(stream, router.clone());
                        let connection = graceful.watch(connection);
                        tokio::spawn(async move {
                            // A client that breaks off is its own affair.
                            let _ = connection.await;
                            drop(place);
                        });
                    }
                    Err(_) => tokio::time::sleep(REFUSED_PAUSE).await,
                },
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                () = &mut dead => return Ok(()),
            }
        }
        // No more connections, no more work; what runs goes on for a while.
        drop(listener);
        engine.stop();
        eprintln!("stopping when running requests have ended; press Ctrl-C again to stop at once");
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tokio::time::sleep(GRACE) => {}
            _ = interrupt.recv() => std::process::exit(130),
            _ = terminate.recv() => std::process::exit(143),
        }
        Ok(())
    })
}

fn serve(stream: TcpStream, router: Router) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    // Tokens are small and should not wait for each other. Neither call can lose anything if it fails.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(GONE_AFTER));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PAUSE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
