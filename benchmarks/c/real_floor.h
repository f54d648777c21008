/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * real_floor.h -- the kernel calls of a fault of real memory, and nothing else
 *
 * Memory is registered with userfaultfd(2) and every page of it touched once; a
 * touch is answered by the calls that no engine can do without.  No tree, no
 * lock, no block map, no page table of its own: the distance from here to the
 * library is what its services cost.  The thread waits, reads and wakes as
 * fault_delivery.c does: epoll_wait(2), read(2) until there is nothing,
 * UFFDIO_WAKE.
 */
#ifndef REAL_FLOOR_H
#define REAL_FLOOR_H

#include "daxcore.h"	/* DAX_API */

enum real_floor_work {
	/* A load, read-only memory: UFFDIO_ZEROPAGE of 4 KiB. */
	REAL_FLOOR_LOAD,
	/* A load, writable memory: then UFFDIO_WRITEPROTECT, and PAGEMAP_SCAN for
	 * a store that came in between. */
	REAL_FLOOR_LOAD_WRITABLE,
	/* A store to zeroes that are there, write-protected:
	 * mmap(MAP_FIXED) of the next page of a memfd. */
	REAL_FLOOR_STORE,
	/* A store to the same of a sparse file, as sparse_file.c has it done: the page
	 * is touched in a window of the whole file, then mapped from there. */
	REAL_FLOOR_STORE_SPARSE,
	REAL_FLOOR_NR_WORKS
};

/* Touch @nr_pages in order, or in that of @order; @signal: served in the SIGBUS
 * handler, else by a thread.  @fd: of REAL_FLOOR_STORE_SPARSE, a file that grows
 * and is emptied again.  Context: one round at a time.
 * ns of the loop, or -errno. */
DAX_API int64_t real_floor_round(int work, int signal, uint64_t nr_pages,
				 const uint64_t *order, int fd);

#endif
