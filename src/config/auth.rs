//! What is configured of who is who: the keys that sign tokens, and the keys of programs. Reads
//! their files, and says of none of them more than what is wrong with it.

use std::collections::BTreeMap;
use std::path::Path;

use super::sources::{CREDENTIALS_VARIABLE, SECRET_VARIABLE, Source};
use super::{BadConfig, Reading, Sources};
use crate::edge::auth::{Algorithm, Credentials, KeyList, Secret, TokenKeys, TokenRules, digest};
use crate::edge::key_file;

/// The settings of this file.
pub(crate) const SETTINGS: [&str; 7] = [
    "jwt_secret_file",
    "jwt_public_key_file",
    "jwt_jwks_file",
    "jwt_algorithm",
    "jwt_audience",
    "jwt_issuer",
    "api_keys_file",
];

/// The credentials of a configuration.
pub(super) fn credentials(reading: &mut Reading<'_>) -> Result<Credentials, BadConfig> {
    let mut files = Files { reading, contents: BTreeMap::new() };
    let tokens = files.tokens()?;
    let keys = files.api_keys()?;
    Ok(Credentials::new(tokens, keys, files.contents))
}

/// The same, where nothing else of the configuration matters.
pub(crate) fn credentials_alone(sources: &Sources) -> Result<Credentials, BadConfig> {
    credentials(&mut Reading { sources, origin: BTreeMap::new() })
}

/// Reads what settings name, and keeps a digest of it.
struct Files<'a, 'b> {
    reading: &'a mut Reading<'b>,
    contents: BTreeMap<&'static str, [u8; 32]>,
}

/// A file's name, if the list gives it one, and its bytes.
type Named = (Option<Box<str>>, Vec<u8>);

impl Files<'_, '_> {
    fn tokens(&mut self) -> Result<Option<TokenRules>, BadConfig> {
        let expected = "an algorithm such as HS256, RS256, PS256, ES256 or EdDSA";
        let parse = |text: &str| Algorithm::parse(text).map(|it| (it, text.to_owned()));
        let (algorithm, name) =
            self.reading.value("jwt_algorithm", expected, Algorithm::DEFAULT, parse)?;
        self.keep("jwt_algorithm", name.as_bytes());
        let audience = self.text("jwt_audience");
        let issuer = self.text("jwt_issuer");
        let ways = [self.secrets(algorithm)?, self.public_keys(algorithm)?, self.jwks(algorithm)?];
        let mut given = ways.into_iter().flatten();
        let (first, second) = (given.next(), given.next());
        if let Some((setting, _)) = second {
            return Err(self
                .reading
                .bad(setting, "tokens are signed in one way: another is given"));
        }
        let Some((_, keys)) = first else { return self.no_keys() };
        let rules = TokenRules::new(keys, algorithm);
        Ok(Some(rules.expecting(audience.as_deref(), issuer.as_deref())))
    }

    /// What only counts with a key must not look as if it did anything.
    fn no_keys(&self) -> Result<Option<TokenRules>, BadConfig> {
        let idle = ["jwt_algorithm", "jwt_audience", "jwt_issuer"];
        let given = |name: &&str| {
            let given = self.reading.sources.get(name);
            // The default is there wherever a configuration was printed and read again.
            given.is_some_and(|it| !it.text.is_empty() && it.text != Algorithm::DEFAULT)
        };
        match idle.into_iter().find(given) {
            Some(name) => Err(self.reading.bad(name, "no key that signs tokens is given")),
            None => Ok(None),
        }
    }

    fn secrets(&mut self, algorithm: Algorithm) -> Result<Option<Given>, BadConfig> {
        const SETTING: &str = "jwt_secret_file";
        let by_variable = self.reading.sources.jwt_secret.clone();
        let (place, secrets) = match (by_variable, self.files(SETTING, "jwt_secret")?) {
            (Some(_), Some(_)) if self.reading.sources.get(SETTING).is_some() => {
                let both = format!("{SECRET_VARIABLE} is given too");
                return Err(self.reading.bad(SETTING, both));
            }
            (Some(secret), _) => (SECRET_VARIABLE.into(), vec![(None, secret)]),
            (None, Some(files)) => {
                let secret = |(name, bytes): Named| (name, Secret::of_file(&bytes));
                (self.reading.name_of(SETTING), files.into_iter().map(secret).collect())
            }
            (None, None) => return Ok(None),
        };
        let bad = |problem| BadConfig(format!("{place}: {problem}"));
        if !algorithm.takes_secret() {
            let problem = "jwt_algorithm is one of public keys, for which there is no secret";
            return Err(bad(problem.into()));
        }
        let keys = TokenKeys::of_secrets(secrets).map_err(|error| bad(error.0))?;
        Ok(Some((SETTING, keys)))
    }

    fn public_keys(&mut self, algorithm: Algorithm) -> Result<Option<Given>, BadConfig> {
        const SETTING: &str = "jwt_public_key_file";
        let Some(files) = self.files(SETTING, "")? else { return Ok(None) };
        let keys = TokenKeys::of_pems(files, algorithm);
        Ok(Some((SETTING, keys.map_err(|error| self.reading.bad(SETTING, error))?)))
    }

    fn jwks(&mut self, algorithm: Algorithm) -> Result<Option<Given>, BadConfig> {
        const SETTING: &str = "jwt_jwks_file";
        let Some(path) = self.path(SETTING, "") else { return Ok(None) };
        let bytes = self.read(SETTING, &path)?;
        self.keep(SETTING, &bytes);
        let keys = TokenKeys::of_jwks(&bytes, algorithm);
        Ok(Some((SETTING, keys.map_err(|error| self.reading.bad(SETTING, error))?)))
    }

    fn api_keys(&mut self) -> Result<Option<KeyList>, BadConfig> {
        const SETTING: &str = "api_keys_file";
        let Some(path) = self.path(SETTING, "api_keys") else { return Ok(None) };
        let bytes = self.read(SETTING, &path)?;
        self.keep(SETTING, &bytes);
        let bad = |problem: &str| self.reading.bad(SETTING, format_args!("{path}: {problem}"));
        let text = str::from_utf8(&bytes).map_err(|_| bad("it is no UTF-8"))?;
        KeyList::parse(text).map(Some).map_err(|problem| bad(&problem))
    }

    /// The files of a list, the newest first: `FILE` or `NAME=FILE`, two at most.
    fn files(
        &mut self,
        setting: &'static str,
        credential: &str,
    ) -> Result<Option<Vec<Named>>, BadConfig> {
        let Some(list) = self.path(setting, credential) else { return Ok(None) };
        let (mut files, mut all) = (Vec::new(), Vec::new());
        for item in list.split(',').map(str::trim) {
            let name = item.split_once('=').filter(|(name, _)| !name.contains('/'));
            let (name, path) = name.map_or((None, item), |(name, path)| (Some(name), path));
            let bytes = self.read(setting, path)?;
            all.extend_from_slice(&digest(name.unwrap_or_default().as_bytes()));
            all.extend_from_slice(&digest(&bytes));
            files.push((name.map(Box::from), bytes));
        }
        if files.len() > 2 {
            return Err(self.reading.bad(setting, "a key and the one before it are two files"));
        }
        self.keep(setting, &all);
        Ok(Some(files))
    }

    /// Where a file is, and if the setting does not say so, whether systemd has one of this name.
    fn path(&mut self, setting: &'static str, credential: &str) -> Option<String> {
        let sources = self.reading.sources;
        if let Some(given) = sources.get(setting).filter(|given| !given.text.is_empty()) {
            let (text, source) = (given.text.clone(), given.source.clone());
            self.reading.note(setting, text.clone(), source);
            return Some(text);
        }
        let path = sources.credential(credential).filter(|_| !credential.is_empty())?;
        let path = path.to_string_lossy().into_owned();
        let source = Source::Variable(CREDENTIALS_VARIABLE.into());
        self.reading.note(setting, path.clone(), source);
        Some(path)
    }

    fn read(&self, setting: &'static str, path: &str) -> Result<Vec<u8>, BadConfig> {
        key_file::read(Path::new(path)).map_err(|error| match setting {
            // What was meant to be a file's name may be the secret itself.
            "jwt_secret_file" => self.reading.bad(setting, format_args!("a file of it: {error}")),
            _ => self.reading.bad(setting, format_args!("{path}: {error}")),
        })
    }

    fn text(&mut self, setting: &'static str) -> Option<String> {
        let given = self.reading.sources.get(setting).filter(|given| !given.text.is_empty())?;
        let (text, source) = (given.text.clone(), given.source.clone());
        self.reading.note(setting, text.clone(), source);
        self.keep(setting, text.as_bytes());
        Some(text)
    }

    fn keep(&mut self, setting: &'static str, contents: &[u8]) {
        self.contents.insert(setting, digest(contents));
    }
}

/// The setting that gives the keys, and the keys.
type Given = (&'static str, TokenKeys);
