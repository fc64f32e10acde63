//! Generates the Connect services from the shared proto files, without an installed protoc.

use prost::Message;
use std::path::PathBuf;

fn main() {
    let root = "../../proto";
    let files = ["process/process.proto", "filesystem/filesystem.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={root}/{file}");
    }
    let set = protox::Compiler::new([root])
        .and_then(|mut compiler| {
            compiler
                .include_source_info(true)
                .include_imports(true)
                .open_files(files)?;
            Ok(compiler.file_descriptor_set())
        })
        .expect("the guest protocol compiles");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let descriptors = out.join("guest.binpb");
    std::fs::write(&descriptors, set.encode_to_vec()).expect("OUT_DIR is writable");
    connectrpc_build::Config::new()
        .files(&files)
        .descriptor_set(&descriptors)
        .include_file("_connectrpc.rs")
        .compile()
        .expect("the services are generated");
}
