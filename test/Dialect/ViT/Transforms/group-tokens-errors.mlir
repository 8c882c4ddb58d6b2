// RUN: vitrify-opt %s --split-input-file --vit-group-tokens="share=1.5" --verify-diagnostics

// A share that is none.
// expected-error @+1 {{expected chunk, tile and rows of at least 1 and a share in (0, 1]}}
module {}
