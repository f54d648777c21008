/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm_area.h -- the address space that real mappings are made of
 *
 * A range is whole pages.  Calls return 0 or -errno.
 *
 *   reserved   nobody can access it: SIGSEGV
 *   anonymous  private memory: absent pages, the zero page, copies
 *   file       a piece of a file, shared or private
 */
#ifndef DAXCORE_VM_AREA_H
#define DAXCORE_VM_AREA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reserve @len bytes, @phase past a multiple of 2 MiB.  -ENOMEM. */
int vm_area_reserve(void **ret_addr, size_t len, size_t phase);
void vm_area_release(void *addr, size_t len);

/* Empty anonymous memory in place of what is there, reserved until it is
 * opened: meanwhile it is registered with somebody.  Core dumps and forked
 * children do not have it.  -ENOMEM: no more areas
 * (vm.max_map_count) or a limit on address space. */
int vm_area_replace(void *addr, size_t len);
int vm_area_protect(void *addr, size_t len, bool read, bool write);

/* Bytes of a file in place of what is there; at once, for whoever looks. */
int vm_area_map_file(void *addr, size_t len, int fd, uint64_t offset, bool write,
		     bool shared);

/* Touch pages of a writable area as stores do, in one call, where the kernel can
 * (5.14).  @huge: whole 2 MiB become pages of that size where it can (MADV_COLLAPSE,
 * 6.1; the file is of tmpfs).  What fails shows when they are touched. */
void vm_area_populate_write(void *addr, size_t len, bool huge);

/* Whoever touches it gets SIGBUS. */
int vm_area_map_nothing(void *addr, size_t len, bool write);

/*
 * May two areas more be made?  Real mappings leave two fifths of what the process
 * may have (vm.max_map_count) to threads, to malloc(), and to pieces that have to
 * go at once.
 */
bool vm_area_has_room(void);

/* Pages of anonymous memory become absent, also those that somebody has locked with
 * mlock(2). */
void vm_area_discard(void *addr, size_t len);

/* Show the kernel's huge zero page all over anonymous memory.  -EOPNOTSUPP:
 * this kernel has none, or not here. */
int vm_area_populate_huge_zero(void *addr, size_t len);

/* May the kernel use the huge zero page where it is asked to? */
bool vm_area_has_huge_zero(void);

/* May the process see its page map? */
bool vm_area_can_look(void);

/* What touching a page of anonymous memory would find: bits, 0 if nothing, or
 * -errno. */
enum vm_area_page { VM_AREA_PAGE_THERE = 1, VM_AREA_PAGE_PROTECTED = 2 };
int vm_area_look(const void *page);

/*
 * Pages of a range that are there and are not the kernel's zero page: their
 * numbers in the range, ascending, up to @nr of them.
 * Return: how many were filled in, or -errno.
 */
int64_t vm_area_private_pages(const void *addr, size_t len, uint64_t *ret_pages,
			      size_t nr);

/* The same for pages that the CPU can load from without a fault. */
int64_t vm_area_present_pages(const void *addr, size_t len, uint64_t *ret_pages,
			      size_t nr);

/* The same for pages that were stored to since they were protected, of areas that are
 * registered with uffd_open_async().  -ENOTTY, -EINVAL: before Linux 6.7. */
int64_t vm_area_written_pages(const void *addr, size_t len, uint64_t *ret_pages,
			      size_t nr);

/* The same for pages of such areas, stored to or not. */
int64_t vm_area_async_pages(const void *addr, size_t len, uint64_t *ret_pages,
			    size_t nr);

/* Can it be asked which pages were stored to? */
bool vm_area_can_scan(void);

/* The same for pages of a private mapping of a file that were copied.
 * -EACCES, -ENOENT: the process may not see its own page map. */
int64_t vm_area_copied_pages(const void *addr, size_t len, uint64_t *ret_pages,
			     size_t nr);

#endif
