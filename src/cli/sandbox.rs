//! `haishin sandbox`: the LINE double alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::args::SandboxOptions;
use super::print;
use crate::clock::SystemClock;
use crate::lang::Lang;
use crate::sandbox::{self, ChannelSettings, Sandbox, Settings, UnknownIds};

/// Serves until Ctrl-C.
pub(super) async fn sandbox(options: &SandboxOptions, lang: Lang) -> anyhow::Result<u8> {
    let mut channels = Vec::new();
    for channel in &options.channel {
        let Some((id, secret)) = channel.split_once(':') else {
            bail!(lang.pick(
                format!("「{channel}」は ID:SECRET の形ではありません"),
                format!("`{channel}` is not ID:SECRET"),
            ));
        };
        channels.push(ChannelSettings {
            unknown_ids: UnknownIds::Befriend,
            ..ChannelSettings::new(id, secret, id)
        });
    }
    if channels.is_empty() {
        let demo = ChannelSettings::new("1000000001", "sandbox-secret", "sandbox");
        channels.push(ChannelSettings { unknown_ids: UnknownIds::Befriend, ..demo });
    }
    let settings =
        Settings { seed: options.seed, state_file: options.ledger.clone(), ..Settings::new(channels) };
    let sandbox = Arc::new(Sandbox::new(settings)?);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listener = TcpListener::bind(address).await.with_context(|| {
        lang.pick(
            format!("{address} で待ち受けできません。別の --port を選んでください"),
            format!("cannot listen on {address}: choose another --port"),
        )
    })?;
    let address = listener.local_addr()?;
    print(&format!(
        "LINE sandbox  http://{address}   phone http://{address}/phone   control http://{address}/sandbox/state"
    ));
    let stop = CancellationToken::new();
    let serving = tokio::spawn(sandbox::serve(sandbox, listener, Arc::new(SystemClock::new()), stop.clone()));
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    serving.await??;
    Ok(0)
}
