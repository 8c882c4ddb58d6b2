// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// source_c1: no path
// expected-error @+1 {{expected a path}}
vit.source @s path "" size 9 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"

// -----

// source_c2: a file without a header
// expected-error @+1 {{expected a size above 8, found 8}}
vit.source @s path "a" size 8 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"

// -----

// source_c3: a short digest
// expected-error @+1 {{expected 64 hexadecimal digits of header_sha256, found '9f'}}
vit.source @s path "a" size 9 header_sha256 "9f"

// -----

// weight_c1: another type
// expected-error @+1 {{expected one yielded value of 'tensor<5xf32>', found another type}}
vit.weight @w : tensor<5xf32> {
  %l = vit.literal dense<1.0> : tensor<4xf32>
  vit.yield %l : tensor<4xf32>
}

// -----

// weight_c1: two values
// expected-error @+1 {{expected one yielded value of 'tensor<4xf32>', found another count}}
vit.weight @w : tensor<4xf32> {
  %l = vit.literal dense<1.0> : tensor<4xf32>
  vit.yield %l, %l : tensor<4xf32>, tensor<4xf32>
}

// -----

// weight_c1: no value
// expected-error @+1 {{expected a region without arguments that ends with vit.yield}}
vit.weight @w : tensor<4xf32> {
  %l = vit.literal dense<1.0> : tensor<4xf32>
}

// -----

// weight_c2: an op of another dialect
// expected-error @+1 {{expected recipe ops only}}
vit.weight @w : tensor<4xf32> {
  %l = vit.literal dense<1.0> : tensor<4xf32>
  // expected-note @+1 {{found tensor.empty}}
  %e = tensor.empty() : tensor<4xf32>
  vit.yield %l : tensor<4xf32>
}

// -----

// weight_c2: an op that computes
// expected-error @+1 {{expected recipe ops only}}
vit.weight @w : tensor<4xf32> {
  %l = vit.literal dense<1.0> : tensor<4xf32>
  // expected-note @+1 {{found vit.act}}
  %e = vit.act relu %l layers ["a"] : tensor<4xf32>
  vit.yield %l : tensor<4xf32>
}

// -----

// weight_c3: a size that is not known
// expected-error @+1 {{expected a static type, found 'tensor<?xf32>'}}
vit.weight @w : tensor<?xf32> {
  %l = vit.literal dense<1.0> : tensor<4xf32>
  vit.yield %l : tensor<4xf32>
}

// -----

// weight_c4: itself
vit.weight @w : tensor<4xf32> {
  // expected-error @+1 {{weight @w derives from itself}}
  %g = vit.get @w : tensor<4xf32>
  vit.yield %g : tensor<4xf32>
}

// -----

// weight_c4: itself through another
vit.weight @a : tensor<4xf32> {
  // One of the two is reported, and the module is refused.
  %g = vit.get @b : tensor<4xf32>
  vit.yield %g : tensor<4xf32>
}
vit.weight @b : tensor<4xf32> {
  // expected-error @+1 {{weight @b derives from itself}}
  %g = vit.get @a : tensor<4xf32>
  vit.yield %g : tensor<4xf32>
}

// -----

// get_c1: no such weight
func.func @f() {
  // expected-error @+1 {{@w is no weight of this module}}
  %g = vit.get @w : tensor<4xf32>
  return
}

// -----

// get_c1: a source
vit.source @s path "a" size 9 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
func.func @f() {
  // expected-error @+1 {{@s is no weight of this module}}
  %g = vit.get @s : tensor<4xf32>
  return
}

// -----

// get_c2: another type
// expected-note @+1 {{weight is declared here}}
vit.weight @w : tensor<4xf32> {
  %l = vit.literal dense<1.0> : tensor<4xf32>
  vit.yield %l : tensor<4xf32>
}
func.func @f() {
  // expected-error @+1 {{expected the weight's type 'tensor<4xf32>', found 'tensor<5xf32>'}}
  %g = vit.get @w : tensor<5xf32>
  return
}

// -----

// read_c1: no such source
vit.weight @w : tensor<4xf32> {
  // expected-error @+1 {{@s is no source of this module}}
  %g = vit.read @s "t" : tensor<4xf32>
  vit.yield %g : tensor<4xf32>
}

// -----

// read_c2: no name
vit.source @s path "a" size 9 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @w : tensor<4xf32> {
  // expected-error @+1 {{expected a tensor's name and a static type, found '' and 'tensor<4xf32>'}}
  %g = vit.read @s "" : tensor<4xf32>
  vit.yield %g : tensor<4xf32>
}

// -----

// literal_c1: 65,537 elements
vit.weight @w : tensor<65537xi32> {
  // expected-error @+1 {{expected at most 65536 elements, found 65537}}
  %g = vit.literal dense_resource<big> : tensor<65537xi32>
  vit.yield %g : tensor<65537xi32>
}

// -----

// literal_c2: elements that are not in the text
vit.weight @w : tensor<4xi32> {
  // expected-error @+1 {{expected dense elements}}
  %g = vit.literal dense_resource<small> : tensor<4xi32>
  vit.yield %g : tensor<4xi32>
}

// -----

// slice_c1: past the end
vit.weight @w : tensor<3x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected 0 <= from < to <= 4, found 2 and 5}}
  %r = vit.slice %x axis 0 from 2 to 5 : tensor<4x2xf32> -> tensor<3x2xf32>
  vit.yield %r : tensor<3x2xf32>
}

// -----

// slice_c1: nothing
vit.weight @w : tensor<0x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected 0 <= from < to <= 4, found 2 and 2}}
  %r = vit.slice %x axis 0 from 2 to 2 : tensor<4x2xf32> -> tensor<0x2xf32>
  vit.yield %r : tensor<0x2xf32>
}

// -----

// slice_c1: axis 2 of a matrix
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected an axis of a static tensor, found axis 2 of 'tensor<4x2xf32>'}}
  %r = vit.slice %x axis 2 from 0 to 1 : tensor<4x2xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// slice_c2: another shape
vit.weight @w : tensor<3x1xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected a result of 'tensor<4x1xf32>', found 'tensor<3x1xf32>'}}
  %r = vit.slice %x axis 1 from 0 to 1 : tensor<4x2xf32> -> tensor<3x1xf32>
  vit.yield %r : tensor<3x1xf32>
}

// -----

// gather_c1: an index outside
vit.weight @w : tensor<2x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected indices from 0 to 3, found 4}}
  %r = vit.gather %x axis 0 [0, 4] : tensor<4x2xf32> -> tensor<2x2xf32>
  vit.yield %r : tensor<2x2xf32>
}

// -----

// gather_c2: another shape
vit.weight @w : tensor<3x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected a result of 'tensor<2x2xf32>', found 'tensor<3x2xf32>'}}
  %r = vit.gather %x axis 0 [0, 1] : tensor<4x2xf32> -> tensor<3x2xf32>
  vit.yield %r : tensor<3x2xf32>
}

// -----

// concat_c1: other columns
vit.weight @w : tensor<8x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<4x3xf32>
  // expected-error @+1 {{expected tensors like 'tensor<4x2xf32>' but for axis 0, found 'tensor<4x3xf32>'}}
  %r = vit.concat %x, %y axis 0 : tensor<4x2xf32>, tensor<4x3xf32> -> tensor<8x2xf32>
  vit.yield %r : tensor<8x2xf32>
}

// -----

// concat_c1: another rank
vit.weight @w : tensor<8x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected tensors like 'tensor<4x2xf32>' but for axis 0, found 'tensor<4xf32>'}}
  %r = vit.concat %x, %y axis 0 : tensor<4x2xf32>, tensor<4xf32> -> tensor<8x2xf32>
  vit.yield %r : tensor<8x2xf32>
}

// -----

// concat_c1: nothing
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected at least one tensor}}
  %r = "vit.concat"() <{axis = 0 : i64}> : () -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// concat_c2: a row too many
vit.weight @w : tensor<9x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected a result of 'tensor<8x2xf32>', found 'tensor<9x2xf32>'}}
  %r = vit.concat %x, %y axis 0 : tensor<4x2xf32>, tensor<4x2xf32> -> tensor<9x2xf32>
  vit.yield %r : tensor<9x2xf32>
}

// -----

// transpose_c1: a vector
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected a matrix, found 'tensor<4xf32>'}}
  %r = vit.transpose %x : tensor<4xf32> -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// transpose_c1: the same shape
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected a result of 'tensor<2x4xf32>', found 'tensor<4x2xf32>'}}
  %r = vit.transpose %x : tensor<4x2xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// reshape_c1: another count
vit.weight @w : tensor<9xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected static tensors of one element type and count, found 'tensor<4x2xf32>' and 'tensor<9xf32>'}}
  %r = vit.reshape %x : tensor<4x2xf32> -> tensor<9xf32>
  vit.yield %r : tensor<9xf32>
}

// -----

// cast_c1: to E4M3
vit.weight @w : tensor<4xf8E4M3FN> {
  %x = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected a float type to f32, f16 or bf16, found 'tensor<4xf32>' to 'tensor<4xf8E4M3FN>'}}
  %r = vit.cast %x : tensor<4xf32> -> tensor<4xf8E4M3FN>
  vit.yield %r : tensor<4xf8E4M3FN>
}

// -----

// cast_c1: another shape
vit.weight @w : tensor<5xf16> {
  %x = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected a result of 'tensor<4xf16>', found 'tensor<5xf16>'}}
  %r = vit.cast %x : tensor<4xf32> -> tensor<5xf16>
  vit.yield %r : tensor<5xf16>
}

// -----

// amax_c1: rows of a vector
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected axis 1 of a matrix, found axis 1 of 'tensor<4xf32>'}}
  %r = vit.amax %x axis 1 div 448.0 : tensor<4xf32> -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// amax_c1: columns
vit.weight @w : tensor<2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected axis 1 of a matrix, found axis 0 of 'tensor<4x2xf32>'}}
  %r = vit.amax %x axis 0 div 448.0 : tensor<4x2xf32> -> tensor<2xf32>
  vit.yield %r : tensor<2xf32>
}

// -----

// amax_c1: rows over all
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected a result of 'tensor<1xf32>', found 'tensor<4xf32>'}}
  %r = vit.amax %x div 448.0 : tensor<4x2xf32> -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// amax_c2: a divisor of 0
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected a positive divisor, found 0}}
  %r = vit.amax %x axis 1 div 0.0 : tensor<4x2xf32> -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// sum_c1: a vector
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected a matrix, found 'tensor<4xf32>'}}
  %r = vit.sum %x : tensor<4xf32> -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// recip_c1: another shape
vit.weight @w : tensor<5xf32> {
  %x = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected a result of 'tensor<4xf32>', found 'tensor<5xf32>'}}
  %r = vit.recip %x : tensor<4xf32> -> tensor<5xf32>
  vit.yield %r : tensor<5xf32>
}

// -----

// mul_c1: columns without the word
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<2xf32>
  // expected-error @+1 {{expected y of x's shape, of one element, [N] or with columns [K], found 'tensor<2xf32>' for 'tensor<4x2xf32>'}}
  %r = vit.mul %x, %y : tensor<4x2xf32>, tensor<2xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// mul_c1: rows with the word
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected y of x's shape, of one element, [N] or with columns [K], found 'tensor<4xf32>' for 'tensor<4x2xf32>'}}
  %r = vit.mul %x, %y columns : tensor<4x2xf32>, tensor<4xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// mul_c2: another shape
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected a result of 'tensor<4x2xf32>', found 'tensor<4xf32>'}}
  %r = vit.mul %x, %y : tensor<4x2xf32>, tensor<4xf32> -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// add_c1: columns without the word
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<2xf32>
  // expected-error @+1 {{expected y of x's shape, of one element, [N] or with columns [K], found 'tensor<2xf32>' for 'tensor<4x2xf32>'}}
  %r = vit.add %x, %y : tensor<4x2xf32>, tensor<2xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// add_c1: rows with the word
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected y of x's shape, of one element, [N] or with columns [K], found 'tensor<4xf32>' for 'tensor<4x2xf32>'}}
  %r = vit.add %x, %y columns : tensor<4x2xf32>, tensor<4xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// add_c2: another shape
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected a result of 'tensor<4x2xf32>', found 'tensor<4xf32>'}}
  %r = vit.add %x, %y : tensor<4x2xf32>, tensor<4xf32> -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// sub_c1: columns without the word
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<2xf32>
  // expected-error @+1 {{expected y of x's shape, of one element, [N] or with columns [K], found 'tensor<2xf32>' for 'tensor<4x2xf32>'}}
  %r = vit.sub %x, %y : tensor<4x2xf32>, tensor<2xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// sub_c1: rows with the word
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected y of x's shape, of one element, [N] or with columns [K], found 'tensor<4xf32>' for 'tensor<4x2xf32>'}}
  %r = vit.sub %x, %y columns : tensor<4x2xf32>, tensor<4xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// sub_c2: another shape
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<4xf32>
  // expected-error @+1 {{expected a result of 'tensor<4x2xf32>', found 'tensor<4xf32>'}}
  %r = vit.sub %x, %y : tensor<4x2xf32>, tensor<4xf32> -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// round_c1: another shape
vit.weight @w : tensor<4xf8E4M3FN> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<1xf32>
  // expected-error @+1 {{expected a result of 'tensor<4x2xf8E4M3FN>', found 'tensor<4xf8E4M3FN>'}}
  %r = vit.round %x, %y : tensor<4x2xf32>, tensor<1xf32> -> tensor<4xf8E4M3FN>
  vit.yield %r : tensor<4xf8E4M3FN>
}

// -----

// round_c2: a scale a column
vit.weight @w : tensor<4x2xf8E4M3FN> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<2xf32>
  // expected-error @+1 {{expected scale [1] or [N], or a block, found 'tensor<2xf32>' for 'tensor<4x2xf32>'}}
  %r = vit.round %x, %y : tensor<4x2xf32>, tensor<2xf32> -> tensor<4x2xf8E4M3FN>
  vit.yield %r : tensor<4x2xf8E4M3FN>
}

// -----

// round_c2: scales of other blocks
vit.weight @w : tensor<4x2xf8E4M3FN> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<1x1xf32>
  // expected-error @+1 {{expected scale [2, 1], found 'tensor<1x1xf32>'}}
  %r = vit.round %x, %y block [3, 2] : tensor<4x2xf32>, tensor<1x1xf32> -> tensor<4x2xf8E4M3FN>
  vit.yield %r : tensor<4x2xf8E4M3FN>
}

// -----

// round_c2: an empty block
vit.weight @w : tensor<4x2xf8E4M3FN> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  %y = vit.literal dense<1.0> : tensor<1x1xf32>
  // expected-error @+1 {{expected a block of two positive sizes on a matrix, found 'tensor<4x2xf32>'}}
  %r = vit.round %x, %y block [0, 2] : tensor<4x2xf32>, tensor<1x1xf32> -> tensor<4x2xf8E4M3FN>
  vit.yield %r : tensor<4x2xf8E4M3FN>
}

// -----

// round_c3: codes
vit.weight @w : tensor<4x2xf8E4M3FN> {
  %x = vit.literal dense<1.0> : tensor<4x2xf8E4M3FN>
  %y = vit.literal dense<1.0> : tensor<1xf32>
  // expected-error @+1 {{operand #0 must be ranked tensor of 32-bit float or 16-bit float or bfloat16 type values, but got 'tensor<4x2xf8E4M3FN>'}}
  %r = vit.round %x, %y : tensor<4x2xf8E4M3FN>, tensor<1xf32> -> tensor<4x2xf8E4M3FN>
  vit.yield %r : tensor<4x2xf8E4M3FN>
}

// -----

// dequant_c1: another shape
vit.weight @w : tensor<4xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf8E4M3FN>
  %y = vit.literal dense<1.0> : tensor<1xf32>
  // expected-error @+1 {{expected a result of 'tensor<4x2xf32>', found 'tensor<4xf32>'}}
  %r = vit.dequant %x, %y : tensor<4x2xf8E4M3FN>, tensor<1xf32> -> tensor<4xf32>
  vit.yield %r : tensor<4xf32>
}

// -----

// dequant_c2: a scale a column
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf8E4M3FN>
  %y = vit.literal dense<1.0> : tensor<2xf32>
  // expected-error @+1 {{expected scale [1] or [N], or a block, found 'tensor<2xf32>' for 'tensor<4x2xf8E4M3FN>'}}
  %r = vit.dequant %x, %y : tensor<4x2xf8E4M3FN>, tensor<2xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// pad_c1: no multiple
vit.weight @w : tensor<4x2xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected a multiple of at least 1, found 0}}
  %r = vit.pad %x axis 1 to_multiple 0 : tensor<4x2xf32> -> tensor<4x2xf32>
  vit.yield %r : tensor<4x2xf32>
}

// -----

// pad_c2: a size that is no multiple
vit.weight @w : tensor<4x8xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected a result of 'tensor<4x16xf32>', found 'tensor<4x8xf32>'}}
  %r = vit.pad %x axis 1 to_multiple 16 : tensor<4x2xf32> -> tensor<4x8xf32>
  vit.yield %r : tensor<4x8xf32>
}

// -----

// amax_c3: an empty block
vit.weight @w : tensor<2x1xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{expected a block of two positive sizes of a matrix, and no axis, found 'tensor<4x2xf32>'}}
  %r = vit.amax %x block [0, 2] div 6.0 : tensor<4x2xf32> -> tensor<2x1xf32>
  vit.yield %r : tensor<2x1xf32>
}

// -----

// amax_c3: a block and an axis
vit.weight @w : tensor<4x1xf32> {
  %x = vit.literal dense<1.0> : tensor<4x2xf32>
  // expected-error @+1 {{and no axis, found 'tensor<4x2xf32>'}}
  %r = vit.amax %x axis 1 block [1, 2] div 6.0 : tensor<4x2xf32> -> tensor<4x1xf32>
  vit.yield %r : tensor<4x1xf32>
}

// -----

// blocks_c1: columns
vit.weight @w : tensor<4x27xf4E2M1FN> {
  %x = vit.literal dense<1.0> : tensor<4x24xf4E2M1FN>
  %s = vit.literal dense<1.0> : tensor<4x1xf8E4M3FN>
  // expected-error @+1 {{expected codes of a static shape with a multiple of 16 columns, found 'tensor<4x24xf4E2M1FN>'}}
  %r = vit.blocks %x, %s : tensor<4x24xf4E2M1FN>, tensor<4x1xf8E4M3FN> -> tensor<4x27xf4E2M1FN>
  vit.yield %r : tensor<4x27xf4E2M1FN>
}

// -----

// blocks_c1: scales
vit.weight @w : tensor<4x36xf4E2M1FN> {
  %x = vit.literal dense<1.0> : tensor<4x32xf4E2M1FN>
  %s = vit.literal dense<1.0> : tensor<4x1xf8E4M3FN>
  // expected-error @+1 {{scales}}
  %r = vit.blocks %x, %s : tensor<4x32xf4E2M1FN>, tensor<4x1xf8E4M3FN> -> tensor<4x36xf4E2M1FN>
  vit.yield %r : tensor<4x36xf4E2M1FN>
}

// -----

// blocks_c2: no room for scales
vit.weight @w : tensor<4x32xf4E2M1FN> {
  %x = vit.literal dense<1.0> : tensor<4x32xf4E2M1FN>
  %s = vit.literal dense<1.0> : tensor<4x2xf8E4M3FN>
  // expected-error @+1 {{expected a result of 'tensor<4x36xf4E2M1FN>', found 'tensor<4x32xf4E2M1FN>'}}
  %r = vit.blocks %x, %s : tensor<4x32xf4E2M1FN>, tensor<4x2xf8E4M3FN> -> tensor<4x32xf4E2M1FN>
  vit.yield %r : tensor<4x32xf4E2M1FN>
}
