// RUN: not vitrify-opt %s --vit-assign-precision="precision=fp7" 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not vitrify-opt %s --vit-assign-precision="keep=f16" 2>&1 | FileCheck %s --check-prefix=RULE
// RUN: not vitrify-opt %s --vit-assign-precision="keep=half:b0" 2>&1 | FileCheck %s --check-prefix=RULE
// RUN: not vitrify-opt %s --vit-assign-precision="precision=fp8 ranges=%S/Inputs/none.json" 2>&1 | FileCheck %s --check-prefix=MISSING

// UNKNOWN: error: unknown precision 'fp7', expected f32, bf16, f16, fp8, fp8_tensor, fp8_token, fp8_block, int8 or nvfp4
// RULE: error: rule '{{.*}}': expected PRECISION:PATTERN
// MISSING: error: {{.*}}none.json{{.*}}no such file
module {}
