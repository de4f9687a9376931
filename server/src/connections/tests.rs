use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::{Protocol, Terms, serve};

const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// Longer than anything here takes.
const EVER: Duration = Duration::from_secs(60);

/// Shorter than any answer that is waited for.
const BRIEF: Duration = Duration::from_millis(20);

/// A door of two places, behind which `/` answers at once, and `/late` when it is let.
struct Door {
    address: SocketAddr,
    protocol: Protocol,
    /// A permit for each call of `/late` that has begun.
    begun: Arc<Semaphore>,
    /// A permit for each that may end.
    late: Arc<Semaphore>,
    close: oneshot::Sender<()>,
    serving: JoinSet<()>,
}

impl Door {
    async fn open(protocol: Protocol, patience: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let [begun, late] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        let (begins, ends) = (Arc::clone(&begun), Arc::clone(&late));
        let router = Router::new().route("/", get(|| async { "now" })).route(
            "/late",
            get(async move || {
                begins.add_permits(1);
                ends.acquire().await.unwrap().forget();
                "late"
            }),
        );
        let terms = Terms {
            max_connections: 2,
            patience,
            ..Terms::new(0)
        };
        let (close, closed) = oneshot::channel();
        let shutdown = async { closed.await.unwrap_or(()) };
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, router, protocol, terms, shutdown));
        Self {
            address,
            protocol,
            begun,
            late,
            close,
            serving,
        }
    }

    /// A client that keeps one connection.
    fn client(&self) -> Client {
        let builder = Client::builder().no_proxy();
        let builder = match self.protocol {
            Protocol::Http1 => builder,
            Protocol::Http2 => builder.http2_prior_knowledge(),
        };
        builder.build().unwrap()
    }

    /// What a client hears. One that the door finds silent, because the machine was busy, comes again.
    fn ask(&self, client: &Client, path: &str) -> impl Future<Output = String> + use<> {
        let request = client.get(format!("http://{}{path}", self.address));
        async move {
            for _ in 0..100 {
                if let Ok(answer) = request.try_clone().unwrap().send().await {
                    return answer.text().await.unwrap();
                }
            }
            panic!("no answer");
        }
    }

    /// A connection that says no more than this.
    async fn say(&self, beginning: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        stream
    }

    /// How far clients go that then fall silent.
    fn beginnings(&self) -> Vec<&'static [u8]> {
        let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        match self.protocol {
            Protocol::Http1 => vec![b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: a\r\n"],
            Protocol::Http2 => vec![b"", &preface[..9], preface],
        }
    }
}

/// Resolves when the other side has hung up.
async fn hung_up(mut stream: TcpStream) {
    match stream.read_to_end(&mut Vec::new()).await {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[tokio::test]
async fn one_connection_too_many_waits_until_another_ends() {
    for protocol in PROTOCOLS {
        let door = Door::open(protocol, EVER).await;
        let clients = [door.client(), door.client()];
        for client in &clients {
            assert_eq!(door.ask(client, "/").await, "now");
        }
        let mut third = JoinSet::new();
        third.spawn(door.ask(&door.client(), "/"));
        for client in clients.iter().cycle().take(50) {
            assert_eq!(door.ask(client, "/").await, "now");
        }
        assert!(third.try_join_next().is_none(), "{protocol:?}");
        drop(clients);
        assert_eq!(third.join_next().await.unwrap().unwrap(), "now");
    }
}

#[tokio::test]
async fn a_slow_peer_holds_up_nobody_and_loses_its_place() {
    for protocol in PROTOCOLS {
        let door = Door::open(protocol, EVER).await;
        for beginning in door.beginnings() {
            let _slow = door.say(beginning).await;
            assert_eq!(door.ask(&door.client(), "/").await, "now");
        }
        let door = Door::open(protocol, BRIEF).await;
        for beginning in door.beginnings() {
            let slow = [door.say(beginning).await, door.say(beginning).await];
            assert_eq!(door.ask(&door.client(), "/").await, "now");
            for slow in slow {
                hung_up(slow).await;
            }
        }
    }
}

#[tokio::test]
async fn a_call_may_take_longer_than_silence() {
    for protocol in PROTOCOLS {
        let door = Door::open(protocol, BRIEF).await;
        let mut answer = JoinSet::new();
        answer.spawn(door.ask(&door.client(), "/late"));
        door.begun.acquire().await.unwrap().forget();
        // As often as a silent connection is given up.
        for _ in 0..4 {
            hung_up(door.say(b"").await).await;
        }
        assert!(answer.try_join_next().is_none(), "{protocol:?}");
        door.late.add_permits(1);
        assert_eq!(answer.join_next().await.unwrap().unwrap(), "late");
    }
}

#[tokio::test]
async fn a_door_that_closes_waits_for_calls_and_for_nobody_else() {
    for protocol in PROTOCOLS {
        for beginning in Door::open(protocol, EVER).await.beginnings() {
            let mut door = Door::open(protocol, BRIEF).await;
            let mut answer = JoinSet::new();
            answer.spawn(door.ask(&door.client(), "/late"));
            door.begun.acquire().await.unwrap().forget();
            let slow = door.say(beginning).await;
            door.close.send(()).unwrap();
            hung_up(slow).await;
            assert!(door.serving.try_join_next().is_none(), "{protocol:?}");
            door.late.add_permits(1);
            assert_eq!(answer.join_next().await.unwrap().unwrap(), "late");
            door.serving.join_next().await.unwrap().unwrap();
        }
    }
}
