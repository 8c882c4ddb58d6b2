# Four functions make every target of the project: a library without MLIR, one with MLIR, a tool, a gtest.
# Layering (what may include what) is checked by scripts/check_layers.py.

add_compile_options(-Wall -Wextra -Wno-unused-parameter -Werror=return-type -Werror=switch)

# A library that sees no MLIR and no LLVM: Support, Weights, Bundle, Runtime, GpuModel, Emulator.
function(vitrify_add_library name)
  cmake_parse_arguments(ARG "SHARED" "" "SRCS;DEPS" ${ARGN})
  if(ARG_SHARED)
    add_library(${name} SHARED ${ARG_SRCS})
  else()
    add_library(${name} STATIC ${ARG_SRCS})
  endif()
  target_link_libraries(${name} PUBLIC ${ARG_DEPS})
endfunction()

# A library of the compiler: the MLIR headers, precompiled once for all of them.
function(vitrify_add_mlir_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  _vitrify_mlir_target(${name})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} MLIR LLVM)
endfunction()

# A command line tool in build/bin. MLIR as an option gives it the compiler's flags.
function(vitrify_add_tool name)
  cmake_parse_arguments(ARG "MLIR" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  if(ARG_MLIR)
    _vitrify_mlir_target(${name})
    target_link_libraries(${name} PRIVATE MLIR LLVM)
  endif()
endfunction()

# A gtest binary in build/bin/unittests; scripts/run_tests.py runs all that it finds there.
function(vitrify_add_gtest name)
  cmake_parse_arguments(ARG "MLIR" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin/unittests)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  if(ARG_MLIR)
    _vitrify_mlir_target(${name})
    target_link_libraries(${name} PRIVATE MLIR LLVM)
  endif()
  add_test(NAME ${name} COMMAND ${name})
endfunction()

function(_vitrify_mlir_target name)
  # Debian's LLVM is built without exceptions and with RTTI.
  target_compile_options(${name} PRIVATE -fno-exceptions -Wno-deprecated-declarations)
  separate_arguments(defs NATIVE_COMMAND "${LLVM_DEFINITIONS}")
  target_compile_options(${name} PRIVATE ${defs})
  target_include_directories(${name} SYSTEM PRIVATE ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
  add_dependencies(${name} VitrifyIncGen)
  if(NOT TARGET vitrify_pch)
    file(WRITE ${CMAKE_BINARY_DIR}/pch.cpp "")
    add_library(vitrify_pch OBJECT ${CMAKE_BINARY_DIR}/pch.cpp)
    target_compile_options(vitrify_pch PRIVATE -fno-exceptions -Wno-deprecated-declarations ${defs})
    target_include_directories(vitrify_pch SYSTEM PRIVATE ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
    target_precompile_headers(vitrify_pch PRIVATE ${PROJECT_SOURCE_DIR}/cmake/MLIRPrecompiled.h)
  endif()
  # CMake gives executables -fPIE, and a precompiled header serves one of -fPIE and -fPIC only.
  get_target_property(type ${name} TYPE)
  if(type STREQUAL "EXECUTABLE")
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
    target_compile_options(${name} PRIVATE -fPIC)
  endif()
  target_precompile_headers(${name} REUSE_FROM vitrify_pch)
endfunction()
