//! A network of the test's own, where namespaces can be had (root, iproute2, nftables): a hub's
//! host with two ways to it. One is direct and good; the other leads over a router that loses
//! packets or carries nothing at all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Hub;
use super::trials::Lack;

/// Networks of this process so far: their addresses and names are apart.
static MADE: AtomicU8 = AtomicU8::new(0);

/// Taken down when dropped: with their namespaces go all links, routes and rules.
pub struct Network {
    host: String,
    router: String,
    number: u8,
}

impl Network {
    /// Makes one.
    pub fn make() -> Result<Network, Lack> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", std::process::id());
        let network = Network { host: format!("hub-h{id}"), router: format!("hub-r{id}"), number };
        // What was made is taken down too where the rest can't be had.
        network
            .build()
            .map_err(|error| Lack(format!("no network namespaces can be had here: {error}")))?;
        Ok(network)
    }

    /// An address of the networks for tests of devices (RFC 2544), which lead nowhere.
    fn address(&self, net: u8, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 4 * (self.number % 64) + net, last)
    }

    fn build(&self) -> Result<(), String> {
        let (host, router) = (&*self.host, &*self.router);
        let own = format!("{}-{}", std::process::id(), self.number);
        let [good, near, far] =
            ["g", "n", "f"].map(|way| ["a", "b"].map(|end| format!("{way}{end}{own}")));
        let net = |net, last| format!("{}/24", self.address(net, last));
        ip(&["netns", "add", host])?;
        ip(&["netns", "add", router])?;
        // The host, directly; the router; the host, behind it.
        for ([near, far], near_ns, far_ns, number) in
            [(&good, None, host, 0), (&near, None, router, 1), (&far, Some(router), host, 2)]
        {
            ip(&["link", "add", near, "type", "veth", "peer", "name", far])?;
            ip(&["link", "set", far, "netns", far_ns])?;
            if let Some(namespace) = near_ns {
                ip(&["link", "set", near, "netns", namespace])?;
            }
            for (namespace, device, last) in [(near_ns, near, 1), (Some(far_ns), far, 2)] {
                within(namespace, &["ip", "addr", "add", &net(number, last), "dev", device])?;
                within(namespace, &["ip", "link", "set", device, "up"])?;
            }
        }
        within(Some(host), &["ip", "link", "set", "lo", "up"])?;
        within(Some(router), &["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
        let behind = self.address(1, 2).to_string();
        ip(&["route", "add", &net(2, 0), "via", &behind])?;
        let back = self.address(2, 1).to_string();
        within(Some(host), &["ip", "route", "add", &net(1, 0), "via", &back])?;
        let table = "add table inet way; add chain inet way through \
                     { type filter hook forward priority 0; }";
        within(Some(router), &["nft", table])
    }

    /// Starts a hub on the host; it is asked over the good way.
    pub fn hub(&self, args: &[&str]) -> Hub {
        let wrapper = ["ip", "netns", "exec", &*self.host];
        let args = [args, &["--listen", "0.0.0.0:0", "--insecure"]].concat();
        let mut hub = Hub::start_under(&wrapper, &args);
        hub.address.set_ip(IpAddr::V4(self.address(0, 2)));
        hub
    }

    /// Where that hub is to be had over the router.
    pub fn behind_the_router(&self, hub: &Hub) -> SocketAddr {
        SocketAddr::from((self.address(2, 2), hub.address.port()))
    }

    /// Has the router lose this part of what it forwards, both ways, in percent; all of it is a
    /// partition.
    pub fn lose(&self, percent: u8) {
        let which = match percent {
            100.. => String::new(),
            _ => format!("numgen random mod 100 < {percent}"),
        };
        let rule = format!("flush chain inet way through; add rule inet way through {which} drop");
        within(Some(&self.router), &["nft", &rule]).expect("our own rule");
    }

    /// Has the router lose nothing more.
    pub fn mend(&self) {
        within(Some(&self.router), &["nft", "flush chain inet way through"]).expect("our own rule");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.host, &self.router] {
            // Its devices go with it, and with each its other end.
            _ = ip(&["netns", "del", namespace]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    within(None, &[&["ip"], arguments].concat())
}

/// Runs a command in a namespace, or here.
fn within(namespace: Option<&str>, command: &[&str]) -> Result<(), String> {
    let enter = namespace.map(|it| ["ip", "netns", "exec", it]);
    let all = [enter.as_ref().map_or(&[][..], |enter| &enter[..]), command].concat();
    let output = Command::new(all[0]).args(&all[1..]).output();
    let output = output.map_err(|error| format!("{}: {error}", all[0]))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{}: {}", all.join(" "), said.trim()))
}
