module secondmate.dev/examples/wasm-node-number

go 1.24
