// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// plan_target_c1: a name with a slash
// expected-error @+1 {{expected a name of letters, digits and _.-+, found 'a/b'}}
plan.target "a/b" {
}

// -----

// plan_target_c2: a foreign op
// expected-error @+1 {{expected kernels, weights and programs only}}
plan.target "sm_89" {
  // expected-note @+1 {{found here}}
  func.func private @f()
}

// -----

// plan_kernel_c1: a short digest
plan.target "sm_89" {
  // expected-error @+1 {{expected 64 hexadecimal digits of sha256, found '12'}}
  plan.kernel @k kind "row" precision f32 sha256 "12" scalars 0 buffers 2
}

// -----

// plan_kernel_c2: negative scalars
plan.target "sm_89" {
  // expected-error @+1 {{expected 0 to 4096 scalars and buffers, found -1 and 2}}
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars -1 buffers 2
}

// -----

// plan_kernel_c3: a metric that is no integer
plan.target "sm_89" {
  // expected-error @+1 {{expected an i64 as metric 'registers', found "many"}}
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2 metrics {registers = "many"}
}

// -----

// plan_weight_c1: a dynamic weight
plan.target "sm_89" {
  // expected-error @+1 {{expected a static tensor of a buffer's element type, found 'tensor<?xf32>'}}
  plan.weight @w tensor "w" : tensor<?xf32>
}

// -----

// plan_weight_c1: an f64 weight
plan.target "sm_89" {
  // expected-error @+1 {{expected a static tensor of a buffer's element type, found 'tensor<1xf64>'}}
  plan.weight @w tensor "w" : tensor<1xf64>
}

// -----

// plan_weight_c2: no tensor
plan.target "sm_89" {
  // expected-error @+1 {{expected a tensor and a layout that are not empty}}
  plan.weight @w tensor "" : tensor<1xf32>
}

// -----

// plan_program_c1: a symbol twice
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  // expected-error @+1 {{symbol 'n' is declared twice}}
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>, #plan.symbol<"n", 1, 1, 2>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_program_c2: no return
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  // expected-error @+1 {{expected plan.return at the end}}
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
  }
}

// -----

// plan_program_c2: a foreign op
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  // expected-error @+1 {{expected buffers, views and steps only}}
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    // expected-note @+1 {{found here}}
    %c = arith.constant 1 : i32
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_program_c3: an unknown symbol in the arena
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  // expected-error @+1 {{symbol 'm' is not one of the program's}}
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(m * 4) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_program_c3: an unknown symbol in a grid
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{symbol 'm' is not one of the program's}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 1 to 64, grid(m + 1, 1, 1), block(1, 1, 1), shared 0>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_program_c4: two buffers of one name
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  // expected-error @+1 {{two buffers are named 'x'}}
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %z = plan.buffer input "x" argument "z" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_program_c4: two inputs of one name
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  // expected-error @+1 {{two input arguments are named 'x'}}
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %z = plan.buffer input "z" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_buffer_c1: an arena buffer without offset
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{a buffer of the arena has an offset and no argument}}
    %b = plan.buffer arena "b" shape(n) size(n * 4) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_buffer_c1: an input with an offset
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{an input or output has an argument's name and no offset}}
    %b = plan.buffer input "b" argument "b" shape(n) offset(0) size(n * 4) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_buffer_c2: an offset between lines
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected an offset that is a multiple of 64 and not negative, found 32}}
    %b = plan.buffer arena "b" shape(n) offset(32) size(n * 4) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_buffer_c3: codes in an integer
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{f8e4m3 values are not held in 'i32'}}
    %b = plan.buffer arena "b" shape(n) offset(0) size(n * 4) numeric f8e4m3 : !plan.buffer<i32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_buffer_c4: a scale that is a kernel
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{scale @k is no weight of this target}}
    %b = plan.buffer arena "b" shape(n) offset(0) size(n * 4) scale @k : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_buffer_c5: a size below the shape
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected a size of at least the shape's 16 bytes, found 15}}
    %b = plan.buffer arena "b" shape(4) offset(0) size(15) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_buffer_c5: a shape that overflows
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected dimensions that are not negative and do not overflow, found 4611686018427387904}}
    %b = plan.buffer arena "b" shape(4611686018427387904) offset(0) size(16) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_buffer_c6: no name
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected a name}}
    %b = plan.buffer arena "" shape(4) offset(0) size(16) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_view_c1: a negative offset
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected an offset that is not negative, found -4}}
    %b = plan.view %y offset(-4) : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c1: no variant
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected at least one variant}}
    plan.launch layers [] dispatch(n) variants [] args() weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c1: a kernel that is not there
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{@q is no kernel of this target}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@q, 1 to 64, grid(1, 1, 1), block(1, 1, 1), shared 0>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c1: a weight in place of a kernel
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{@w is no kernel of this target}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@w, 1 to 64, grid(1, 1, 1), block(1, 1, 1), shared 0>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c2: a scalar too many
plan.target "sm_89" {
  // expected-note @+1 {{kernel is declared here}}
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected 0 scalars and 2 weights, reads and writes for @k, found 1 and 2}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 1 to 64, grid(1, 1, 1), block(1, 1, 1), shared 0>] args(n) weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c3: a kernel in place of a weight
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{@k is no weight of this target}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 1 to 64, grid(1, 1, 1), block(1, 1, 1), shared 0>] args() weights [@k] reads() writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c4: a gap between ranges
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected variant 1 to start at 16 + 1, found 18}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 1 to 16, grid(1, 1, 1), block(1, 1, 1), shared 0>, #plan.variant<@k, 18 to 64, grid(1, 1, 1), block(1, 1, 1), shared 0>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c4: a range after the last integer
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected variant 1 to start at 9223372036854775807 + 1, found 1}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 0 to 9223372036854775807, grid(1, 1, 1), block(1, 1, 1), shared 0>, #plan.variant<@k, 1 to 64, grid(1, 1, 1), block(1, 1, 1), shared 0>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c5: too many threads
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected at most 1024 threads, found 2048}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 1 to 64, grid(1, 1, 1), block(2, 1024, 1), shared 0>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c5: an empty block
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected block sizes from 1 to 1024, found 0}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 1 to 64, grid(1, 1, 1), block(0, 1, 1), shared 0>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c5: shared memory on x86
plan.target "x86-64-v3" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected 0 to 0 bytes of shared memory, found 64}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 1 to 64, grid(1, 1, 1), block(1, 1, 1), shared 64>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c6: an input is written
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{writes the input 'x'}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 1 to 64, grid(1, 1, 1), block(1, 1, 1), shared 0>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%x : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_launch_c6: an input is written through a view
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %v = plan.view %x offset(64) : !plan.buffer<f32>
    // expected-error @+1 {{writes the input 'x'}}
    plan.launch layers [] dispatch(n) variants [#plan.variant<@k, 1 to 64, grid(1, 1, 1), block(1, 1, 1), shared 0>] args() weights [] reads(%x : !plan.buffer<f32>) writes(%v : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_copy_c1: negative bytes
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected bytes that are not negative, found -1}}
    plan.copy %x to %y bytes(-1) layers [] : !plan.buffer<f32>, !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_copy_c2: an input is written
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{writes the input 'x'}}
    plan.copy %y to %x bytes(4) layers [] : !plan.buffer<f32>, !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_if_c1: no step
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected at least one step}}
    plan.if(n) {
    }
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_if_c1: a foreign op
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected views and steps only}}
    plan.if(n) {
      // expected-note @+1 {{found here}}
      %c = arith.constant 1 : i32
    }
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_exit_if_c1: a buffer of bf16
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %b = plan.buffer arena "b" shape(n) offset(0) size(n * 2) : !plan.buffer<bf16>
    // expected-error @+1 {{expected a buffer of f32, found '!plan.buffer<bf16>'}}
    plan.exit_if %b exceeds 0.5 : !plan.buffer<bf16>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_exit_if_c2: an infinite threshold
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected a finite threshold}}
    plan.exit_if %y exceeds 0x7F800000 : !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_call_c1: no such program
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{@c is no program before this one}}
    plan.call @c reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_call_c1: itself
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{@p is no program before this one}}
    plan.call @p reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_call_c1: a later program
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{@c is no program before this one}}
    plan.call @c reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
  plan.program @c symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.copy %x to %y bytes(n * 32) layers [] : !plan.buffer<f32>, !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_call_c2: a read too few
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @c symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.copy %x to %y bytes(n * 32) layers [] : !plan.buffer<f32>, !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected 1 reads for @c, found 0}}
    plan.call @c reads() writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_call_c2: another element type
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @c symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.copy %x to %y bytes(n * 32) layers [] : !plan.buffer<f32>, !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %b = plan.buffer arena "b" shape(n) offset(0) size(n * 2) : !plan.buffer<bf16>
    // expected-error @+1 {{expected '!plan.buffer<f32>' for 'x', found '!plan.buffer<bf16>'}}
    plan.call @c reads(%b : !plan.buffer<bf16>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_call_c3: bounds wider than the callee's
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @c symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.copy %x to %y bytes(n * 32) layers [] : !plan.buffer<f32>, !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 65>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{symbol 'n' of @c has no symbol here that stays within its bounds}}
    plan.call @c reads(%x : !plan.buffer<f32>) writes(%y : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_call_c4: an input is written
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @c symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    plan.copy %x to %y bytes(n * 32) layers [] : !plan.buffer<f32>, !plan.buffer<f32>
    plan.return %y : !plan.buffer<f32>
  }
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{writes the input 'x'}}
    plan.call @c reads(%x : !plan.buffer<f32>) writes(%x : !plan.buffer<f32>)
    plan.return %y : !plan.buffer<f32>
  }
}

// -----

// plan_return_c1: an output is missing
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected every output buffer, found 0 of 1}}
    plan.return
  }
}

// -----

// plan_return_c1: an output twice
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected each output buffer once and nothing else}}
    plan.return %y, %y : !plan.buffer<f32>, !plan.buffer<f32>
  }
}

// -----

// plan_return_c1: an input
plan.target "sm_89" {
  plan.kernel @k kind "row" precision f32 sha256 "0000000000000000000000000000000000000000000000000000000000000000" scalars 0 buffers 2
  plan.weight @w tensor "w" : tensor<1xf32>
  plan.program @p symbols [#plan.symbol<"n", 1, 1, 64>] arena(0) {
    %x = plan.buffer input "x" argument "x" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    %y = plan.buffer output "y" argument "y" shape(n, 8) size(n * 32) : !plan.buffer<f32>
    // expected-error @+1 {{expected each output buffer once and nothing else}}
    plan.return %x, %y : !plan.buffer<f32>, !plan.buffer<f32>
  }
}

// -----

// expression: deeper than 64 in brackets
// expected-error @+1 {{expression is deeper than 64}}
module attributes {e = #plan.expr<((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((a))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))>} {}

// -----

// expression: deeper than 64 in a chain
// expected-error @+1 {{expression is deeper than 64}}
module attributes {e = #plan.expr<a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a + a>} {}

// -----

// expression: no operand
// expected-error @+1 {{expected an integer, a symbol, min, max or '('}}
module attributes {e = #plan.expr<a + >} {}

// -----

// symbol: bounds out of order
// expected-error @+1 {{expected 0 <= min <= tuned <= max, found 2, 1, 64}}
module attributes {e = #plan.symbol<"n", 2, 1, 64>} {}

// -----

// symbol: the name of an operator
// expected-error @+1 {{expected an identifier that is no operator as the symbol's name, found 'mod'}}
module attributes {e = #plan.symbol<"mod", 1, 1, 64>} {}

// -----

// variant: two sizes of grid
// expected-error @+1 {{expected 3 sizes of grid and block, found 2 and 3}}
module attributes {e = #plan.variant<@k, 1 to 2, grid(1, 1), block(1, 1, 1), shared 0>} {}

// -----

// variant: an empty range
// expected-error @+1 {{expected min <= max, found 3 and 2}}
module attributes {e = #plan.variant<@k, 3 to 2, grid(1, 1, 1), block(1, 1, 1), shared 0>} {}

// -----

// buffer type: f64
// expected-error @+1 {{expected f32, f16, bf16, f8E4M3FN, f4E2M1FN, i8, ui8, i32 or i64, found 'f64'}}
func.func private @f(!plan.buffer<f64>)
