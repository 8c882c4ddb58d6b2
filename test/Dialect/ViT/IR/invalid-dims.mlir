// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// dim_c1: no name
// expected-error @+1 {{dimension needs a name}}
func.func private @f(tensor<?x8xf32> {vit.dims = [#vit.dim<"", 1, 1, 64>]})

// -----

// dim_c1: bounds out of order
// expected-error @+1 {{expected 1 <= min <= tuned <= max, found 1, 65, 64}}
func.func private @f(tensor<?x8xf32> {vit.dims = [#vit.dim<"rows", 1, 65, 64>]})

// -----

// dim_c2: one for two dynamic dimensions
// expected-error @+1 {{expected 2 #vit.dim as vit.dims of argument 0, one a dynamic dimension, found [#vit.dim<"rows", 1, 1, 64>]}}
func.func private @f(tensor<?x?xf32> {vit.dims = [#vit.dim<"rows", 1, 1, 64>]})

// -----

// dim_c2: a string
// expected-error @+1 {{expected 1 #vit.dim as vit.dims of argument 1, one a dynamic dimension, found ["rows"]}}
func.func private @f(f32, tensor<?x8xf32> {vit.dims = ["rows"]})

// -----

// dim_c3: a number as the name of an argument
// expected-error @+1 {{expected a string that is not empty as vit.name, found 1 : i64}}
func.func private @f(tensor<?x8xf32> {vit.name = 1})

// -----

// dim_c3: an empty name of a result
// expected-error @+1 {{expected a string that is not empty as vit.name, found ""}}
func.func private @f() -> (tensor<?x8xf32> {vit.name = ""})
