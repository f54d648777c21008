/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * writeback_rounds.h -- writeback of scattered dirty pages, or the bare loop
 *
 * A bench is a file of which every page has an entry and some are dirty, on
 * memory treated as persistent.  A round stores to those pages and times one
 * way of making them durable.
 */
#ifndef WRITEBACK_ROUNDS_H
#define WRITEBACK_ROUNDS_H

#include "daxcore.h"

struct writeback_bench;

/* @entries: pages of the file; every @entries / @dirty-th is stored to.  0 or
 * -errno. */
DAX_API int writeback_bench_new(struct writeback_bench **ret_bench,
				uint64_t entries, uint64_t dirty);
DAX_API void writeback_bench_free(struct writeback_bench *bench);

/* Store to the pages, then write them back with the library (@bare 0) or by a
 * loop that flushes the same lines and fences once.  ns of the latter, or
 * -errno. */
DAX_API int64_t writeback_round(struct writeback_bench *bench, int bare);

/* Entries that writeback has looked at / has flushed so far. */
DAX_API uint64_t writeback_bench_stat(struct writeback_bench *bench,
				      const char *name);

#endif
