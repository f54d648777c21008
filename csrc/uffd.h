/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uffd.h -- userfaultfd(2): who touches memory that has no page yet is told of
 *
 * The calls on a descriptor, each with its retries and its errno.
 * Everything a kernel may lack is asked for when a descriptor is opened; the
 * constants are ours where the build machine's headers are older.
 *
 * A range is whole pages: address and length are multiples of 4096.  Calls
 * return 0 or -errno; -EAGAIN and "somebody was quicker" are dealt with here.
 */
#ifndef DAXCORE_UFFD_H
#define DAXCORE_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum uffd_feature {
	UFFD_CAN_POISON = 1,	/* 6.6: a page that answers with SIGBUS */
	UFFD_CAN_MOVE = 2,	/* 6.8: pages from one range to another */
	UFFD_USER_ONLY = 4,	/* faults inside system calls are EFAULT */
	UFFD_KEEPS_REMAP = 8,	/* what is moved stays registered, and sleeps until its
				 * event has been read: uffd_swap.h */
	UFFD_CAN_PROTECT_SHMEM = 16	/* 5.19: shared memory too, a tmpfs or memfd */
};

/* What came from a descriptor: a touch of a page. */
struct uffd_event {
	uintptr_t address;
	bool write;
	uint32_t tid;	/* who touches it */
};

/*
 * A descriptor.  @signal: the toucher gets SIGBUS; else events are read.
 * @ret_features: of enum uffd_feature, what it can.
 * >= 0, or -EPERM, -EOPNOTSUPP: dax_error() names the way out; -EMFILE, -ENFILE,
 * -ENOMEM.
 */
int uffd_open(bool signal, unsigned int *ret_features);

/*
 * A descriptor that tells nobody: a store to a protected page takes the protection
 * away, and the page map shows that (vm_area_written_pages()).  Linux 6.7; any kind of
 * memory.  >= 0, or -errno.
 */
int uffd_open_async(void);

int uffd_register(int fd, void *addr, size_t len);

/* Stores to protected pages alone.  -EINVAL: not to this kind of memory. */
int uffd_register_stores(int fd, void *addr, size_t len);

/* The next event: 1, 0 (there is none, or it was no touch), -errno. */
int uffd_read(int fd, struct uffd_event *ret_event);

/* Read until it is told of a range that was moved: true; false: not yet.
 * @touches counts those that were read on the way, and are to be woken. */
bool uffd_read_remap(int fd, uint64_t *touches);

/* Whoever sleeps in a touch of the range tries again. */
void uffd_wake(int fd, void *addr, size_t len);

/* Show the kernel's zero page; pages that are there stay. */
int uffd_zeropage(int fd, void *addr, size_t len);

/* Fill absent pages with a copy, write-protected if @protect.  -EEXIST: the
 * first page is there. */
int uffd_copy(int fd, void *addr, const void *from, size_t len, bool protect);

/* Pages of [from, from + len) go to absent ones at @addr; both are multiples of
 * 2 MiB, and so is @len.  -EEXIST: something is there, a page table even. */
int uffd_move(int fd, void *addr, void *from, size_t len);

/* The next store to a page that is there (of a file: to any) is told of, or (false) is
 * not.  -ENOENT: the range was not registered. */
int uffd_writeprotect(int fd, void *addr, size_t len, bool protect);

/* The page answers with SIGBUS until it is discarded. */
int uffd_poison(int fd, void *addr, size_t len);

#endif
