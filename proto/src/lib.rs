//! The wire: the messages and services of `proto/foretoken/v1`, as generated.

/// Package `foretoken.v1`; documented in its .proto file.
#[expect(clippy::allow_attributes, unused_qualifications, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("foretoken.v1");
}

/// The .proto files in compiled form, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("foretoken_descriptor");
