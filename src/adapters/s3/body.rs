//! A request body of segments, sent one after the other without being copied together.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body that can be sent again: a retry starts from the first segment, and the bytes are shared.
pub(super) fn of_segments(segments: Vec<Bytes>) -> ByteStream {
    let segments: Arc<[Bytes]> = segments.into();
    ByteStream::new(SdkBody::retryable(move || SdkBody::from_body_1_x(Segments::new(Arc::clone(&segments)))))
}

struct Segments {
    segments: Arc<[Bytes]>,
    next: usize,
    left_bytes: u64,
}

impl Segments {
    fn new(segments: Arc<[Bytes]>) -> Segments {
        let left_bytes = segments.iter().map(|segment| segment.len() as u64).sum();
        Segments { segments, next: 0, left_bytes }
    }
}

impl Body for Segments {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let segment = self.segments.get(self.next).cloned();
        if let Some(segment) = &segment {
            self.next += 1;
            self.left_bytes -= segment.len() as u64;
        }
        Poll::Ready(segment.map(|segment| Ok(Frame::data(segment))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.segments.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}
