// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// convert_c1: another shape
func.func @f(%x: tensor<4xf32>) {
  // expected-error @+1 {{expected a result of the operand's shape, found 'tensor<4xf32>' to 'tensor<5xf16>'}}
  %r = vit.convert %x : tensor<4xf32> to tensor<5xf16>
  return
}

// -----

// convert_c1: a vector to a tensor
func.func @f(%x: vector<4xf32>) {
  // expected-error @+1 {{expected a result of the operand's shape, found 'vector<4xf32>' to 'tensor<4xf16>'}}
  %r = vit.convert %x : vector<4xf32> to tensor<4xf16>
  return
}

// -----

// convert_c1: a scalar to a vector
func.func @f(%x: f32) {
  // expected-error @+1 {{expected a result of the operand's shape, found 'f32' to 'vector<4xf16>'}}
  %r = vit.convert %x : f32 to vector<4xf16>
  return
}

// -----

// convert_c2: the same type
func.func @f(%x: f32) {
  // expected-error @+1 {{expected another element type, found 'f32' twice}}
  %r = vit.convert %x : f32 to f32
  return
}

// -----

// convert_c3: codes without sat
func.func @f(%x: f32) {
  // expected-error @+1 {{expected sat to 'f8E4M3FN'}}
  %r = vit.convert %x : f32 to f8E4M3FN
  return
}

// -----

// convert_c3: codes of i8 without sat
func.func @f(%x: f32) {
  // expected-error @+1 {{expected sat to 'i8'}}
  %r = vit.convert %x : f32 to i8
  return
}

// -----

// convert_c3: sat to f16
func.func @f(%x: f32) {
  // expected-error @+1 {{expected no sat to 'f16'}}
  %r = vit.convert %x sat : f32 to f16
  return
}

// -----

// quantize_c1: codes of another width
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected codes [?, 8], found 'tensor<?x7xf8E4M3FN>'}}
  %c, %s = vit.quantize tensor %x layers ["q"] : tensor<?x8xf32> -> tensor<?x7xf8E4M3FN>, tensor<1xf32>
  return
}

// -----

// quantize_c2: a scale a row for a tensor
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected scales [1], found 'tensor<?x1xf32>'}}
  %c, %s = vit.quantize tensor %x layers ["q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<?x1xf32>
  return
}

// -----

// quantize_c2: a scale of the tensor for tokens
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected scales [?, 1], found 'tensor<1xf32>'}}
  %c, %s = vit.quantize token %x layers ["q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<1xf32>
  return
}

// -----

// quantize_c2: a short scale operand
func.func @f(%x: tensor<?x8xf32>, %k: tensor<7xf32>) {
  // expected-error @+1 {{expected scale [8], found 'tensor<7xf32>'}}
  %c, %s = vit.quantize channel %x scale(%k : tensor<7xf32>) layers ["q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<8xf32>
  return
}

// -----

// quantize_c3: channels without a scale
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a scale for channel granularity}}
  %c, %s = vit.quantize channel %x layers ["q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<8xf32>
  return
}

// -----

// quantize_c3: tokens with a scale
func.func @f(%x: tensor<?x8xf32>, %k: tensor<1xf32>) {
  // expected-error @+1 {{expected no scale for token granularity, which finds its own}}
  %c, %s = vit.quantize token %x scale(%k : tensor<1xf32>) layers ["q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<?x1xf32>
  return
}

// -----

// quantize_c4: no block
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a block for block granularity and for no other}}
  %c, %s = vit.quantize block %x layers ["q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<?x2xf32>
  return
}

// -----

// quantize_c4: a block for tokens
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a block for block granularity and for no other}}
  %c, %s = vit.quantize token %x block 4 layers ["q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<?x1xf32>
  return
}

// -----

// quantize_c4: a block that does not divide
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a block that divides the columns of 'tensor<?x8xf32>', found 3}}
  %c, %s = vit.quantize block %x block 3 layers ["q"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>, tensor<?x2xf32>
  return
}

// -----

// dequantize_c1: another width
func.func @f(%c: tensor<?x8xf8E4M3FN>, %s: tensor<1xf32>) {
  // expected-error @+1 {{expected result [?, 8], found 'tensor<?x9xf32>'}}
  %r = vit.dequantize %c, %s layers ["q"] : tensor<?x8xf8E4M3FN>, tensor<1xf32> -> tensor<?x9xf32>
  return
}

// -----

// dequantize_c2: seven scales
func.func @f(%c: tensor<?x8xf8E4M3FN>, %s: tensor<7xf32>) {
  // expected-error @+1 {{expected scales [1], [D], [rows, 1] or [rows, D / block] for 'tensor<?x8xf8E4M3FN>', found 'tensor<7xf32>'}}
  %r = vit.dequantize %c, %s layers ["q"] : tensor<?x8xf8E4M3FN>, tensor<7xf32> -> tensor<?x8xf32>
  return
}

// -----

// dequantize_c2: three blocks
func.func @f(%c: tensor<?x8xf8E4M3FN>, %s: tensor<?x3xf32>) {
  // expected-error @+1 {{expected scales [1], [D], [rows, 1] or [rows, D / block] for 'tensor<?x8xf8E4M3FN>', found 'tensor<?x3xf32>'}}
  %r = vit.dequantize %c, %s layers ["q"] : tensor<?x8xf8E4M3FN>, tensor<?x3xf32> -> tensor<?x8xf32>
  return
}
