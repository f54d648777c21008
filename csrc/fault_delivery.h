/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fault_delivery.h -- touches of real mappings come to the fault path
 *
 *   thread   the kernel puts the toucher to sleep and tells a thread of the
 *            library, which serves the fault and wakes it
 *   signal   the toucher gets SIGBUS, and serves the fault in the handler
 *
 * One table of the real mappings of the process serves both, and SIGSEGV: who
 * touches a page while what it is made of is being changed gets that, and tries
 * again.
 */
#ifndef DAXCORE_FAULT_DELIVERY_H
#define DAXCORE_FAULT_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys.h"

/* Faults of this thread do not wait for a thaw: they return -EINTR, and nothing has
 * been done.  Kernel: FAULT_FLAG_RETRY_NOWAIT. */
extern __thread bool fault_retry_nowait;

struct fault_area {
	char *start;
	size_t length;		/* bytes */
	int uffd;
	bool signal;
	bool writable;
	/* Serve a touch of the page at @offset bytes.  0: it is to be repeated;
	 * 1: a store to a frozen file, ask again; -errno: it failed. */
	int (*serve)(struct fault_area *area, size_t offset, bool write,
		     bool may_sleep);
	/* It failed: the toucher shall get SIGBUS, or EFAULT. */
	void (*fail)(struct fault_area *area, size_t offset);
	/* A touch of what is registered beside the area. */
	void (*stray)(struct fault_area *area, uintptr_t address);
	/* A while later: whoever touches the page asks anew. */
	void (*forgive)(struct fault_area *area, size_t offset);

	/* fault_delivery's own */
	struct mutex serving;	/* held by the thread while it serves */
};

/* From now on touches of the area are served.  Context: no lock of the file held.
 * 0; -ENOMEM; -ENFILE: there are too many; -EMFILE: no descriptor for the thread. */
int fault_area_attach(struct fault_area *area);

/* No touch of it is being served any more when this returns.  Context: no lock
 * of the file held. */
void fault_area_detach(struct fault_area *area);

/* Is the thread whose touch the caller serves in a system call on that file?  Then it
 * may hold the file system's lock of it, and a call that takes the lock never ends. */
bool fault_toucher_is_in(uint64_t dev, uint64_t ino);

/* Does [addr, addr + len) meet an area that is attached? */
bool fault_area_overlaps(const void *addr, size_t len);

#endif
