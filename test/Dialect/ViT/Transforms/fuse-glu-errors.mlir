// RUN: not vitrify-opt %s --vit-fuse-glu=heads=3 2>&1 | FileCheck %s
// CHECK: error: <Pass-Options-Parser>: no such option heads
func.func @f() { return }
