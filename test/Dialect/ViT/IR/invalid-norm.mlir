// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// norm_c1: a width that does not divide the columns
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a width that divides the 8 columns, found 3}}
  %r = vit.norm layer %x eps 1.0e-6 width 3 layers ["n"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// norm_c1: a width of 0
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a width that divides the 8 columns, found 0}}
  %r = vit.norm layer %x eps 1.0e-6 width 0 layers ["n"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// norm_c1: columns that are not known
func.func @f(%x: tensor<?x?xf32>) {
  // expected-error @+1 {{expected a static number of columns, found 'tensor<?x?xf32>'}}
  %r = vit.norm layer %x eps 1.0e-6 layers ["n"] : tensor<?x?xf32> -> tensor<?x?xf32>
  return
}

// -----

// norm_c2: a gamma of all columns for a head
func.func @f(%x: tensor<?x8xf32>, %g: tensor<8xf32>) {
  // expected-error @+1 {{expected gamma [4], found 'tensor<8xf32>'}}
  %r = vit.norm layer %x gamma(%g : tensor<8xf32>) eps 1.0e-6 width 4 layers ["n"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// norm_c2: a short beta
func.func @f(%x: tensor<?x8xf32>, %g: tensor<7xf32>) {
  // expected-error @+1 {{expected beta [8], found 'tensor<7xf32>'}}
  %r = vit.norm layer %x beta(%g : tensor<7xf32>) eps 1.0e-6 layers ["n"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// norm_c3: rms with beta
func.func @f(%x: tensor<?x8xf32>, %g: tensor<8xf32>) {
  // expected-error @+1 {{expected no beta for rms}}
  %r = vit.norm rms %x beta(%g : tensor<8xf32>) eps 1.0e-6 layers ["n"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// norm_c4: an eps of 0
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a positive eps, found 0}}
  %r = vit.norm layer %x eps 0.0 layers ["n"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// norm_c4: an eps that is not a number
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a positive eps, found nan}}
  %r = vit.norm layer %x eps 0x7FF8000000000000 layers ["n"] : tensor<?x8xf32> -> tensor<?x8xf32>
  return
}

// -----

// norm_c5: a result of another width
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected result [?, 8], found 'tensor<?x7xf32>'}}
  %r = vit.norm layer %x eps 1.0e-6 layers ["n"] : tensor<?x8xf32> -> tensor<?x7xf32>
  return
}

// -----

// norm_c5: codes without an epilogue
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected an f32 result without an epilogue, found 'tensor<?x8xf8E4M3FN>'}}
  %r = vit.norm layer %x eps 1.0e-6 layers ["n"] : tensor<?x8xf32> -> tensor<?x8xf8E4M3FN>
  return
}

// -----

// residual_c1: a narrow branch
func.func @f(%x: tensor<?x8xf32>, %y: tensor<?x7xf32>) {
  // expected-error @+1 {{expected a branch [?, 8], found 'tensor<?x7xf32>'}}
  %r = vit.residual %x, %y layers ["r"] : tensor<?x8xf32>, tensor<?x7xf32> -> tensor<?x8xf32>
  return
}

// -----

// residual_c1: a wide result
func.func @f(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) {
  // expected-error @+1 {{expected a result [?, 8], found 'tensor<?x9xf32>'}}
  %r = vit.residual %x, %y layers ["r"] : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x9xf32>
  return
}

// -----

// residual_c2: a short scale
func.func @f(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>, %s: tensor<7xf32>) {
  // expected-error @+1 {{expected scale [8], found 'tensor<7xf32>'}}
  %r = vit.residual %x, %y scale(%s : tensor<7xf32>) layers ["r"] : tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
  return
}
