/*===- vitrify.h - the C interface of the runtime ------------------*- C -*-===*\
|* Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
|*
|* Opens a bundle and runs it. A program is what a bundle holds, immutable and
|* shared by threads; a context is the memory of one request at a time, any number
|* a program. No exception leaves the library; every function that can fail returns
|* a status. Every struct that may grow begins with its size.
\*===----------------------------------------------------------------------===*/
#ifndef VITRIFY_RUNTIME_VITRIFY_H
#define VITRIFY_RUNTIME_VITRIFY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VITRIFY_API __attribute__((visibility("default")))

/* ---- Status ------------------------------------------------------------- */

/** Why a call failed, or NULL for success. Free what is not NULL. */
typedef struct vitrify_status vitrify_status;

typedef enum vitrify_code {
  VITRIFY_OK = 0,
  VITRIFY_INVALID_ARGUMENT = 1,   /**< the caller's value is wrong: option, shape, dtype */
  VITRIFY_NOT_FOUND = 2,          /**< a file, entry or driver is missing */
  VITRIFY_DATA_LOSS = 3,          /**< a file is damaged: digest, truncation, format */
  VITRIFY_UNSUPPORTED = 4,        /**< well formed, but not for this build, CPU, GPU or driver */
  VITRIFY_RESOURCE_EXHAUSTED = 5, /**< out of memory; the message says needed and free bytes */
  VITRIFY_INTERNAL = 6,           /**< a bug of vitrify */
  VITRIFY_DEVICE_ERROR = 7,       /**< the driver or the device returned an error */
  VITRIFY_CANCELLED = 8           /**< stopped by vitrify_context_cancel or the time limit */
} vitrify_code;

/** VITRIFY_OK for NULL. */
VITRIFY_API vitrify_code vitrify_status_code(const vitrify_status *status);
/** One sentence, lower case, no final period; "" for NULL. Lives as long as the status. */
VITRIFY_API const char *vitrify_status_message(const vitrify_status *status);
VITRIFY_API void vitrify_status_free(vitrify_status *status);

/** Version of the library, "0.1.0". */
VITRIFY_API const char *vitrify_version(void);

/* ---- Tensors ------------------------------------------------------------ */

typedef enum vitrify_dtype {
  VITRIFY_F32 = 0,
  VITRIFY_F16 = 1,
  VITRIFY_BF16 = 2,
  VITRIFY_F8E4M3 = 3,
  VITRIFY_F4E2M1 = 4,
  VITRIFY_I8 = 5,
  VITRIFY_U8 = 6,
  VITRIFY_I32 = 7,
  VITRIFY_I64 = 8
} vitrify_dtype;

typedef enum vitrify_memory {
  VITRIFY_HOST = 0,
  VITRIFY_DEVICE = 1 /**< an address of the program's GPU */
} vitrify_memory;

#define VITRIFY_MAX_RANK 8

/** The caller's memory: dense, row-major. */
typedef struct vitrify_tensor {
  void *data;
  uint64_t bytes;        /**< room at data, at least what dtype and shape need */
  vitrify_dtype dtype;
  vitrify_memory memory;
  int32_t frames;        /**< 1: u8 images [B, H, W, C], normalised on the way in as the bundle's preprocess.json says */
  int32_t rank;          /**< outputs: written by the run */
  int64_t shape[VITRIFY_MAX_RANK];
} vitrify_tensor;

/** Fills a tensor from a DLPack DLTensor (version 0.x and 1.x): CPU, pinned or CUDA memory, without strides or dense. */
VITRIFY_API vitrify_status *vitrify_tensor_from_dlpack(const void *dl_tensor, vitrify_tensor *tensor);

/* ---- Program ------------------------------------------------------------ */

typedef struct vitrify_program vitrify_program;

typedef enum vitrify_memory_mode {
  VITRIFY_MEMORY_FAST = 0, /**< weights are laid out for the kernels once, at first use */
  VITRIFY_MEMORY_LOW = 1   /**< weights stay in the file's pages; one at a time is laid out while it is used */
} vitrify_memory_mode;

/** level: 0 error, 1 warning, 2 information. May be called from any thread. */
typedef void (*vitrify_log_callback)(int level, const char *message, void *user);

typedef struct vitrify_options {
  size_t struct_size;               /**< sizeof(vitrify_options) */
  const char *device;               /**< "cpu" (also for NULL), "cuda" or "cuda:N" */
  const char *target;               /**< a target of the bundle, or NULL: the best that the device runs */
  const char *driver;               /**< library with the CUDA driver's functions, or NULL: libcuda.so.1 */
  uint32_t threads;                 /**< CPU threads of a context, 0: as many as this process may use */
  vitrify_memory_mode memory_mode;
  uint64_t weight_budget;           /**< low memory mode: bytes of weights to keep resident, 0: no limit */
  const char *require_signature;    /**< PEM file with an Ed25519 public key, or NULL: no signature asked for */
  vitrify_log_callback log;         /**< or NULL */
  void *log_user;
} vitrify_options;

/** Opens a bundle folder. Manifest, plans and code are verified; nothing of it has run on return. options may be NULL. */
VITRIFY_API vitrify_status *vitrify_program_open(const char *path, const vitrify_options *options,
                                                 vitrify_program **program);
/** Contexts keep what they need; destroy in any order. */
VITRIFY_API void vitrify_program_destroy(vitrify_program *program);

/** A number that a run may choose, within its bounds. */
typedef struct vitrify_symbol {
  const char *name; /**< "images" */
  int64_t min, tuned, max;
} vitrify_symbol;

/** A dimension: symbol >= 0 is an index into the entry's symbols, else the size is value; -1: computed from symbols, see
 *  vitrify_program_output. */
typedef struct vitrify_dim {
  int64_t value;
  int32_t symbol;
} vitrify_dim;

typedef struct vitrify_argument {
  const char *name; /**< "pixels", "logits" */
  vitrify_dtype dtype;
  int32_t rank;
  const vitrify_dim *dims;
} vitrify_argument;

typedef struct vitrify_entry {
  const char *name; /**< "forward" */
  size_t num_symbols, num_inputs, num_outputs;
  const vitrify_symbol *symbols;
  const vitrify_argument *inputs, *outputs;
} vitrify_entry;

/** What the caller may want to know; every pointer lives as long as the program. */
typedef struct vitrify_program_info {
  size_t struct_size;     /**< sizeof(vitrify_program_info), set by the caller */
  const char *name;       /**< of the model */
  const char *precision;  /**< that was asked for: "fp8" */
  const char *target;     /**< chosen: "x86-64-v4-bf16" */
  const char *device;     /**< "cpu", or the GPU's name */
  const char *license;    /**< of the model */
  const char *preprocess; /**< text of preprocess.json, or NULL */
  size_t num_entries;
  const vitrify_entry *entries;
  size_t num_labels;      /**< of preprocess.json */
  const char *const *labels;
  uint64_t weight_bytes;  /**< distinct weights in the file */
  uint32_t threads;       /**< of a context, on the CPU */
} vitrify_program_info;

VITRIFY_API vitrify_status *vitrify_program_get_info(const vitrify_program *program, vitrify_program_info *info);

/** Bytes that one run needs. */
typedef struct vitrify_memory_info {
  size_t struct_size;      /**< sizeof(vitrify_memory_info), set by the caller */
  uint64_t arena_bytes;    /**< intermediate values, one a context */
  uint64_t staging_bytes;  /**< copies of arguments that need conversion, alignment or transfer, one a context */
  uint64_t weight_bytes;   /**< weights as the kernels read them, one a program */
  uint64_t scratch_bytes;  /**< low memory mode: room for the weight in use, one a context */
} vitrify_memory_info;

/** Peak memory of an entry for these symbol values, before anything is allocated. */
VITRIFY_API vitrify_status *vitrify_program_memory(const vitrify_program *program, const char *entry,
                                                   const int64_t *symbols, size_t num_symbols,
                                                   vitrify_memory_info *info);
/** Symbol values that these inputs' shapes mean; errors as in vitrify_run. symbols has room for the entry's. */
VITRIFY_API vitrify_status *vitrify_program_bind(const vitrify_program *program, const char *entry,
                                                 const vitrify_tensor *inputs, size_t num_inputs, int64_t *symbols);

/** Dtype, rank, shape and bytes of an output for these symbol values; data is set to NULL. */
VITRIFY_API vitrify_status *vitrify_program_output(const vitrify_program *program, const char *entry, size_t index,
                                                   const int64_t *symbols, size_t num_symbols, vitrify_tensor *output);

/* ---- Context ------------------------------------------------------------ */

typedef struct vitrify_context vitrify_context;

typedef struct vitrify_context_options {
  size_t struct_size;    /**< sizeof(vitrify_context_options) */
  uint32_t threads;      /**< 0: the program's */
  void *memory;          /**< the caller's arena (of the device), 256-byte aligned, or NULL: allocated when needed */
  uint64_t memory_bytes;
  void *stream;          /**< the caller's CUstream, or NULL: one of the context's own */
} vitrify_context_options;

/** options may be NULL. */
VITRIFY_API vitrify_status *vitrify_context_create(vitrify_program *program, const vitrify_context_options *options,
                                                   vitrify_context **context);
VITRIFY_API void vitrify_context_destroy(vitrify_context *context);

/** Allocates and lays out now what a run with these symbols would at its start. */
VITRIFY_API vitrify_status *vitrify_context_prepare(vitrify_context *context, const char *entry,
                                                    const int64_t *symbols, size_t num_symbols);

enum {
  VITRIFY_RUN_PROFILE = 1, /**< time every step */
  VITRIFY_RUN_ASYNC = 2    /**< CUDA with device tensors only: return when the work is in the stream */
};

typedef struct vitrify_run_options {
  size_t struct_size;     /**< sizeof(vitrify_run_options) */
  uint32_t flags;         /**< VITRIFY_RUN_* */
  uint64_t time_limit_ns; /**< checked between steps and work units; 0: none */
} vitrify_run_options;

/** Runs an entry (NULL: the first) on the caller's buffers. Symbols come from the inputs' shapes. Host f32, f16 and bf16
 *  are converted to the argument's type and back where they differ; u8 frames are normalised. One run at a time a
 *  context; different contexts run at the same time. options may be NULL. */
VITRIFY_API vitrify_status *vitrify_run(vitrify_context *context, const char *entry, const vitrify_tensor *inputs,
                                        size_t num_inputs, vitrify_tensor *outputs, size_t num_outputs,
                                        const vitrify_run_options *options);
/** Stops the run in progress, from any thread; it returns VITRIFY_CANCELLED. Without one this does nothing. */
VITRIFY_API void vitrify_context_cancel(vitrify_context *context);
/** Waits for asynchronous runs and returns their error. */
VITRIFY_API vitrify_status *vitrify_context_wait(vitrify_context *context);

/** One step of the last run with VITRIFY_RUN_PROFILE. */
typedef struct vitrify_step_time {
  const char *layers; /**< "b0.fc1 b0.act" */
  const char *kernel; /**< "" for copies */
  uint64_t ns;
} vitrify_step_time;

/** Steps of the last profiled run; the pointers live until the context's next run. */
VITRIFY_API vitrify_status *vitrify_context_profile(const vitrify_context *context, const vitrify_step_time **steps,
                                                    size_t *num_steps);

#ifdef __cplusplus
}
#endif

#endif
