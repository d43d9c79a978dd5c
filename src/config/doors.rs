//! What is configured of who comes in: pages and names that the hub knows, and proxies that are
//! believed.

use super::sources::Source;
use super::{BadConfig, Reading, parse_bool};
use crate::edge::{Hosts, Origins, Proxies, ProxyHeader};

impl Reading<'_> {
    pub(super) fn origins(&mut self) -> Result<Origins, BadConfig> {
        let given = self.sources.get("origins");
        let text = given.map_or("http://localhost:3000", |given| &given.text);
        let origins = Origins::parse(text).map_err(|error| self.bad("origins", error))?;
        let source = given.map_or(Source::Default, |given| given.source.clone());
        self.note("origins", origins.text(), source);
        Ok(origins)
    }

    pub(super) fn hosts(&mut self) -> Result<Hosts, BadConfig> {
        let given = self.sources.get("hosts");
        let text = given.map_or("none", |given| &given.text);
        let hosts = Hosts::parse(text).map_err(|error| self.bad("hosts", error))?;
        let source = given.map_or(Source::Default, |given| given.source.clone());
        self.note("hosts", hosts.text(), source);
        Ok(hosts)
    }

    pub(super) fn proxies(&mut self) -> Result<Proxies, BadConfig> {
        let expected = "x-forwarded-for or forwarded";
        let header = self.value("proxy_header", expected, "x-forwarded-for", ProxyHeader::parse)?;
        let introduce = self.value("proxy_protocol", "on or off", "off", parse_bool)?;
        let given = self.sources.get("trusted_proxies");
        let text = given.map_or("none", |given| &given.text);
        let proxies = Proxies::parse(text, header, introduce);
        let proxies = proxies.map_err(|error| self.bad("trusted_proxies", error))?;
        if introduce && proxies.is_empty() {
            return Err(self.bad("proxy_protocol", "trusted_proxies are to say whose it is"));
        }
        let source = given.map_or(Source::Default, |given| given.source.clone());
        self.note("trusted_proxies", proxies.text(), source);
        Ok(proxies)
    }
}
