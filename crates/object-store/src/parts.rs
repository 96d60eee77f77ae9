//! Puts large files in parts: stores take no more than 5 GiB at once, and an upload that broke off goes on with the
//! next part.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use rusty_s3::S3Action as _;
use ureq::{SendBody, http::header};

use crate::{
    ObjectError, ObjectStore,
    store::{MAX_ERROR, SIGNED_FOR, TRIES, element, whole_element},
};

/// An upload in parts that has begun. The caller keeps it: a store holds the parts until the upload is completed or
/// abandoned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The store's name of it.
    pub id: String,
    pub part_bytes: u64,
    /// What the store has called each part that it has.
    pub etags: Vec<String>,
}

/// A part of a file.
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl io::Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        (self.at, self.left) = (self.at + count as u64, self.left - count as u64);
        Ok(count)
    }
}

impl ObjectStore {
    /// Begins an upload in parts.
    ///
    /// # Errors
    /// No upload is known. One without parts may have begun whose answer was lost.
    pub fn begin_upload(&self, key: &str) -> Result<Upload, ObjectError> {
        let full = self.full(key);
        let address = self.bucket().create_multipart_upload(Some(self.credentials()), &full).sign(SIGNED_FOR);
        let request = self.http().post(address.as_str()).header(header::CONTENT_TYPE, "application/zstd");
        let mut answer = self.succeeded(key, request.send_empty())?;
        let text = answer.body_mut().with_config().limit(MAX_ERROR).read_to_string().unwrap_or_default();
        let id = whole_element(&text, "UploadId").filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| self.refused("it begins an upload and does not say which".to_owned()))?;
        Ok(Upload { id: id.to_owned(), part_bytes: self.part_bytes(), etags: Vec::new() })
    }

    /// Puts the parts of a file that the store does not have yet, over what is under the key. `note` keeps the upload
    /// after each part.
    ///
    /// # Errors
    /// The object does not exist yet; what the store has is in the upload. `Missing` if the store does not know the
    /// upload.
    pub fn put_parts(
        &self,
        key: &str,
        file: &File,
        upload: &mut Upload,
        mut note: impl FnMut(&Upload) -> io::Result<()>,
    ) -> Result<(), ObjectError> {
        let bytes = file.metadata().map_err(|error| ObjectError::Local(error.to_string()))?.len();
        loop {
            let at = upload.part_bytes * upload.etags.len() as u64;
            if at >= bytes {
                break;
            }
            let etag = self.put_part(key, file, upload, at, upload.part_bytes.min(bytes - at))?;
            upload.etags.push(etag);
            note(upload).map_err(|error| ObjectError::Local(error.to_string()))?;
        }
        self.complete(key, upload)?;
        self.has_bytes(key, bytes)
    }

    /// Puts one part, a few times if need be: one that comes twice is one.
    fn put_part(&self, key: &str, file: &File, upload: &Upload, at: u64, bytes: u64) -> Result<String, ObjectError> {
        let number = u16::try_from(upload.etags.len() + 1)
            .map_err(|_| ObjectError::Local("a file has more parts than a store takes".to_owned()))?;
        let full = self.full(key);
        let mut tries = 0;
        loop {
            tries += 1;
            let action = self.bucket().upload_part(Some(self.credentials()), &full, number, &upload.id);
            let request = self.http().put(action.sign(SIGNED_FOR).as_str());
            let mut part = Part { file, at, left: bytes };
            let sent = request.header(header::CONTENT_LENGTH, bytes).send(SendBody::from_reader(&mut part));
            match self.succeeded(key, sent) {
                Ok(answer) => {
                    let etag = answer.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
                    return match etag {
                        Some(etag) => Ok(etag.to_owned()),
                        None => Err(self.refused("it takes a part and gives it no ETag".to_owned())),
                    };
                }
                Err(ObjectError::Away { .. }) if tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn complete(&self, key: &str, upload: &Upload) -> Result<(), ObjectError> {
        let full = self.full(key);
        let etags = upload.etags.iter().map(String::as_str);
        let action = self.bucket().complete_multipart_upload(Some(self.credentials()), &full, &upload.id, etags);
        let (address, body) = (action.sign(SIGNED_FOR), action.body());
        let mut answer = self.succeeded(key, self.http().post(address.as_str()).send(&body))?;
        // A store that takes long answers at first, and says at the end what failed.
        let text = answer.body_mut().with_config().limit(MAX_ERROR).read_to_string();
        let text = text.map_err(|error| self.away(error.to_string()))?;
        match text.contains("<Error>") {
            true => Err(self.away(element(&text, "Message").unwrap_or("an upload cannot be completed").to_owned())),
            false => Ok(()),
        }
    }

    /// Makes the store forget an upload with its parts. An unknown upload is no error.
    ///
    /// # Errors
    /// The parts may be there still.
    pub fn abandon_upload(&self, key: &str, upload: &Upload) -> Result<(), ObjectError> {
        let full = self.full(key);
        let address =
            self.bucket().abort_multipart_upload(Some(self.credentials()), &full, &upload.id).sign(SIGNED_FOR);
        match self.succeeded(key, self.http().delete(address.as_str()).call()) {
            Ok(_) | Err(ObjectError::Missing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
