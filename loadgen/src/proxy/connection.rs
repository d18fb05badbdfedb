//! One connection through the proxy: accepted, joined to the server, ended when
//! both sides are done or a fault breaks it.
//!
//! Knows nothing about how bytes are held back.

use std::io;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::proxy::switch::Switch;
use crate::proxy::{Direction, Fault, pump};

/// Accepts until aborted.
pub(super) async fn accept(
    listener: TcpListener,
    upstream_port: u16,
    switched: watch::Receiver<Switch>,
) {
    for number in 0.. {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        if switched.borrow().fault(number) == Some(Fault::Refuse) {
            let _ = client.set_zero_linger();
            continue;
        }
        tokio::spawn(serve(client, upstream_port, number, switched.clone()));
    }
}

async fn serve(
    mut client: TcpStream,
    upstream_port: u16,
    number: u64,
    switched: watch::Receiver<Switch>,
) {
    let mut server = None;
    let reset = tokio::select! {
        // A server that is down resets its clients; any other end is in order.
        _ = forward(&mut client, &mut server, upstream_port, number, &switched) => server.is_none(),
        reset = broken(switched.clone(), number) => reset,
    };
    if reset {
        for stream in server.iter().chain([&client]) {
            let _ = stream.set_zero_linger();
        }
    }
}

async fn forward(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    upstream_port: u16,
    number: u64,
    switched: &watch::Receiver<Switch>,
) -> io::Result<()> {
    // In a black hole nobody learns whether there is a server.
    let silent = |switch: &Switch| switch.fault(number) == Some(Fault::BlackHole);
    switched
        .clone()
        .wait_for(|switch| !silent(switch))
        .await
        .map_err(io::Error::other)?;
    let server = server.insert(TcpStream::connect(("127.0.0.1", upstream_port)).await?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_in, client_out) = client.split();
    let (server_in, server_out) = server.split();
    let line = |way| pump::Line {
        way,
        number,
        switched: switched.clone(),
    };
    tokio::try_join!(
        pump::pump(client_in, server_out, line(Direction::ToServer)),
        pump::pump(server_in, client_out, line(Direction::ToClient)),
    )?;
    Ok(())
}

/// Waits for the break that hits this connection, or the end of the proxy; true
/// for a reset.
async fn broken(mut switched: watch::Receiver<Switch>, number: u64) -> bool {
    let mut seen = switched.borrow_and_update().breaks();
    loop {
        if switched.changed().await.is_err() {
            return false;
        }
        let switch = *switched.borrow_and_update();
        if seen < switch.breaks() {
            seen = switch.breaks();
            if let Some(reset) = switch.broken(number) {
                return reset;
            }
        }
    }
}
