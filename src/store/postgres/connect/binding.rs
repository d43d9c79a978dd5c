//! What a password's proof is bound to, so that it is worth nothing on another connection
//! (RFC 5929, `tls-server-end-point`): a hash of the server's certificate. Pure.

use tokio_rustls::rustls::SupportedCipherSuite;
use tokio_rustls::rustls::crypto::aws_lc_rs::cipher_suite;

const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;

/// What signatures are called in certificates, less the last number.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];

/// The binding of a server's certificate; `None`: its signature has no hash that is known here,
/// and the password is proven without.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let suite = hash_of(certificate)?;
    let hash = suite.tls13()?.common.hash_provider.hash(certificate);
    Some(hash.as_ref().to_vec())
}

/// A suite with the hash of the certificate's signature; SHA-256 where that is weaker.
fn hash_of(certificate: &[u8]) -> Option<SupportedCipherSuite> {
    let (certificate, _) = element(SEQUENCE, certificate)?;
    let (_, rest) = element(SEQUENCE, certificate)?;
    let (algorithm, _) = element(SEQUENCE, rest)?;
    let (name, _) = element(OBJECT, algorithm)?;
    if name == ECDSA_SHA1 {
        return Some(cipher_suite::TLS13_AES_128_GCM_SHA256);
    }
    match name.split_last()? {
        (4 | 5 | 11, RSA) | (2, ECDSA) => Some(cipher_suite::TLS13_AES_128_GCM_SHA256),
        (12, RSA) | (3, ECDSA) => Some(cipher_suite::TLS13_AES_256_GCM_SHA384),
        _ => None,
    }
}

/// The body of the first element of DER, if it is of this kind, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (body, rest) = rest.split_at_checked(length)?;
    (*first == tag).then_some((body, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
    use rcgen::{PKCS_ED25519, SignatureAlgorithm};

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let parameters = CertificateParams::new(vec!["db".into()]).expect("parameters");
        parameters.self_signed(&key).expect("it signs").der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        for (algorithm, bytes) in [
            (&PKCS_ECDSA_P256_SHA256, Some(32)),
            (&PKCS_ECDSA_P384_SHA384, Some(48)),
            (&PKCS_ED25519, None),
        ] {
            let bound = end_point(&certificate(algorithm));
            assert_eq!(bound.map(|hash| hash.len()), bytes, "{algorithm:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>, cut in 0usize..600) {
            let _ = end_point(&bytes);
            let whole = certificate(&PKCS_ECDSA_P256_SHA256);
            let _ = end_point(&whole[..cut.min(whole.len())]);
        }
    }
}
