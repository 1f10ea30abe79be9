//! The body of a request as it arrives.

use super::super::body::Kind;
use super::super::failure::Failure;
use super::super::shared::Endpoint;
use super::super::upload::{Upload, UploadError, UploadLimits};
use crate::http::head::{BodyLength, Head};
use crate::http::multipart::boundary;

/// What a body says.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    /// It means nothing.
    None,
    /// JSON as it is stored; a text is a string.
    Data(String),
    /// The data of one record per file.
    Files(Vec<Vec<u8>>),
}

pub struct Intake {
    kind: Kind,
    is_empty: bool,
    content: Content,
}

enum Content {
    Whole { bytes: Vec<u8>, bytes_max: u64 },
    Form(Box<Upload>),
}

impl Intake {
    /// # Errors
    /// [`Failure::ContentTypeNotValid`], and [`Failure::BodyTooLarge`] if so much is announced.
    pub fn of(head: &Head<'_>, endpoint: &Endpoint) -> Result<Intake, Failure> {
        let kind = Kind::of(head, endpoint.options.auth)?;
        let limits = &endpoint.shared.options.limits;
        let content = if kind == Kind::Multipart {
            let boundary = head.field("Content-Type").and_then(boundary).ok_or(Failure::ContentTypeNotValid)?;
            let limits = UploadLimits::new(limits.upload_files_max as usize, limits.upload_file_bytes_max);
            Content::Form(Box::new(Upload::new(&boundary, limits)))
        } else {
            let bytes_max = limits.body_bytes_max;
            if matches!(head.body, BodyLength::Length(length) if length > bytes_max) {
                return Err(Failure::BodyTooLarge);
            }
            Content::Whole { bytes: Vec::new(), bytes_max }
        };
        Ok(Intake { kind, is_empty: true, content })
    }

    /// Takes the next bytes, of which there are some.
    ///
    /// # Errors
    /// What is wrong with a form, or too much; the rest is not wanted then.
    pub fn take(&mut self, part: &[u8]) -> Result<(), Failure> {
        self.is_empty = false;
        match &mut self.content {
            Content::Whole { bytes, bytes_max } if (bytes.len() + part.len()) as u64 > *bytes_max => Err(Failure::BodyTooLarge),
            Content::Whole { bytes, .. } => {
                bytes.extend_from_slice(part);
                Ok(())
            }
            Content::Form(upload) => upload.take(part).map_err(failure),
        }
    }

    /// Bytes that it keeps of what has arrived.
    pub fn held_bytes(&self) -> usize {
        match &self.content {
            Content::Whole { bytes, .. } => bytes.len(),
            Content::Form(upload) => upload.held_bytes(),
        }
    }

    /// The body has ended.
    ///
    /// # Errors
    /// [`Failure::BodyEmpty`], [`Failure::BodyNotValid`]
    pub fn finish(self) -> Result<Body, Failure> {
        match self.content {
            _ if self.is_empty => Err(Failure::BodyEmpty),
            Content::Whole { bytes, .. } => self.kind.data(&bytes).map(Body::Data),
            Content::Form(upload) => upload.finish().map(Body::Files).map_err(failure),
        }
    }
}

fn failure(error: UploadError) -> Failure {
    match error {
        UploadError::NotValid => Failure::BodyNotValid,
        UploadError::TooManyFiles => Failure::TooManyFiles,
        UploadError::TooLarge => Failure::BodyTooLarge,
    }
}
