//===- Residency.h - which weights' pages are in memory ---------*- C++ -*-===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Under a weight budget, the pages of weights come in before the step that reads them
// and go when others need the room: what was used longest ago first, never what a
// running step reads. All contexts of a program share one budget. A thread reads, so
// that the disk has several requests while steps compute.
//===----------------------------------------------------------------------===//
#pragma once

#include "vitrify/Support/File.h"
#include "vitrify/Weights/SafeTensors.h"

#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace vitrify {

/// Thread-safe. Borrows the file and the tensors.
class WeightResidency {
public:
  WeightResidency(const MappedFile &file, uint64_t budget);
  ~WeightResidency();

  /// Bytes of distinct tensors: the budget that a step which reads them needs.
  static uint64_t bytesOf(const std::vector<const TensorInfo *> &tensors);

  /// A step is going to read these: makes room for them, and waits while other contexts' steps hold too much, and until they
  /// are in memory. bytesOf them is at most the budget. After an error nothing is held, and `end` is not due.
  Status begin(const std::vector<const TensorInfo *> &tensors);
  /// A later step will read these: starts reading them in, if there is room beside what is read now and what was asked for
  /// before. False if there is not.
  bool readAhead(const std::vector<const TensorInfo *> &tensors);
  /// The step has ended.
  void end(const std::vector<const TensorInfo *> &tensors);

  /// The most bytes that were held at a time.
  uint64_t peakBytes() const;

private:
  struct Held {
    const TensorInfo *tensor;
    unsigned readers = 0;  ///< running steps
    bool isAhead = false;  ///< read ahead and not used yet
    bool isAsked = false, isRead = false, isBeingRead = false;
    Status status = {}; ///< of reading it
  };
  using Place = std::list<Held>::iterator;

  /// Lets tensors go until `bytes` more fit; false, with nothing gone that is read or (unless `all`) was read ahead.
  bool makeRoom(uint64_t bytes, bool all);
  uint64_t missingBytes(const std::vector<const TensorInfo *> &tensors) const;
  Place hold(const TensorInfo *tensor);
  /// The thread: reads what is queued, and lets the system begin with what comes after it.
  void read();
  /// Reads one tensor; the lock is not held meanwhile.
  void readOne(Place place, std::unique_lock<std::mutex> &lock);

  const MappedFile &file;
  const uint64_t budget;
  mutable std::mutex mutex;
  std::condition_variable changed; ///< something was read, or a step ended
  std::condition_variable queued;  ///< there is something to read
  std::list<Held> held; ///< used longest ago first
  std::map<const TensorInfo *, Place> places;
  std::deque<const TensorInfo *> queue; ///< to read, in order; those that are not held any more are passed over
  uint64_t bytes = 0, peak = 0;
  bool stop = false;
  std::thread reader; ///< none if the system gave none: then steps read for themselves
};

} // namespace vitrify
