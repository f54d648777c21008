/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rw_rounds.h -- reads and writes through the block map, or a bare memcpy()
 *
 * A bench is a file whose first @window bytes have blocks.  A round goes over
 * them once in pieces of one size.
 */
#ifndef RW_ROUNDS_H
#define RW_ROUNDS_H

#include "daxcore.h"

struct rw_bench;

enum rw_work {
	RW_MEMCPY_IN,	/* memcpy() to the window */
	RW_PWRITE,	/* dax_mapping_pwrite() */
	RW_OS_PWRITE,	/* pwrite(2) on @fd */
	RW_MEMCPY_OUT,	/* memcpy() from the window */
	RW_PREAD,
	RW_OS_PREAD,
	RW_MEMSET,	/* memset() of the buffer */
	RW_PREAD_HOLE,	/* dax_mapping_pread() behind the window: no block */
	RW_NR_WORKS
};

/* A file on @dev, @window bytes (a multiple of 4096) with blocks that lie
 * together and as many without.  @fd: a file for pread(2) and pwrite(2), or -1.
 * 0 or -errno. */
DAX_API int rw_bench_new(struct rw_bench **ret_bench, struct dax_device *dev,
			 uint64_t window, int fd);
DAX_API void rw_bench_free(struct rw_bench *bench);

/* ns of @passes over the window in pieces of @piece bytes, or -errno. */
DAX_API int64_t rw_round(struct rw_bench *bench, int work, uint64_t piece,
			 uint64_t passes);

#endif
