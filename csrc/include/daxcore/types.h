/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * daxcore/types.h -- plain types, page constants and enumerations
 *
 * Floor 0 of the library: no calls, only words.  Included by daxcore.h.
 * Written so that one text serves C99, C++, Cython and cffi: constants are
 * enumerators, there are no function-like macros and no inline functions.
 *
 * Names follow fs/dax.c and include/linux of Linux 4.14 with the prefix dax_
 * or DAX_; where a later kernel renamed a thing the later, already prefixed
 * name is used (DAX_LOCKED, DAX_ZERO_PAGE, ...).
 */
#ifndef DAXCORE_TYPES_H
#define DAXCORE_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef uint64_t dax_pgoff_t;	/* page offset in a file, unit 4096 bytes */
typedef int64_t dax_loff_t;	/* byte position in a file */
typedef uint64_t dax_pfn_t;	/* page frame number, unit 4096 bytes */
typedef uint64_t dax_entry_t;	/* one word of a file's radix tree */
typedef unsigned int dax_vm_fault_t;	/* DAX_VM_FAULT_* bits */

struct dax_device;
struct dax_mapping;
struct dax_vma;
struct dax_entry_cookie;
struct dax_iomap;
struct dax_iomap_ops;
struct dax_trace;

/* Page geometry.  Fixed: the engine's page is 4 KiB whatever the base page
 * of the machine; 2 MiB is the PMD size and 1 GiB the PUD size of x86-64. */
enum dax_page_geometry {
	DAX_PAGE_SHIFT = 12,
	DAX_PAGE_SIZE = 4096,
	DAX_PMD_ORDER = 9,
	DAX_PMD_NR_PAGES = 512,
	DAX_PMD_SIZE = 2097152,
	DAX_PUD_ORDER = 18
};

/* Bits of an entry word (dax_entry_t).  Bits 0-1 are 10 binary. */
enum dax_entry_bits {
	DAX_EXCEPTIONAL = 0x02,
	DAX_LOCKED = 0x04,
	DAX_PMD = 0x08,
	DAX_ZERO_PAGE = 0x10,
	DAX_EMPTY = 0x20,
	DAX_ENTRY_SHIFT = 6	/* the PFN starts here */
};

/* Reserved frames: not of any device. */
enum dax_reserved_pfn {
	DAX_ZERO_PFN = 1,	/* the common 4 KiB zero page */
	DAX_HUGE_ZERO_PFN = 512	/* the common 2 MiB zero page */
};

/* Result of a fault, the kernel's vm_fault bits. */
enum dax_vm_fault_bits {
	DAX_VM_FAULT_OOM = 0x0001,
	DAX_VM_FAULT_SIGBUS = 0x0002,
	DAX_VM_FAULT_MAJOR = 0x0004,
	DAX_VM_FAULT_NOPAGE = 0x0100,
	DAX_VM_FAULT_LOCKED = 0x0200,
	DAX_VM_FAULT_RETRY = 0x0400,
	DAX_VM_FAULT_FALLBACK = 0x0800,
	DAX_VM_FAULT_DONE_COW = 0x1000,
	DAX_VM_FAULT_NEEDDSYNC = 0x2000,
	DAX_VM_FAULT_ERROR = 0x0803	/* OOM | SIGBUS | FALLBACK */
};

/* Why a PMD fault fell back to 4 KiB pages, in the order tested. */
enum dax_fallback_reason {
	DAX_FALLBACK_NONE = 0,
	DAX_FALLBACK_COLOUR,		/* pgoff and address differ mod 2 MiB */
	DAX_FALLBACK_COW,		/* write fault on a private mapping */
	DAX_FALLBACK_VMA_START,		/* range starts before the mapping */
	DAX_FALLBACK_VMA_END,		/* range ends after the mapping */
	DAX_FALLBACK_EOF,		/* range would cross the end of file */
	DAX_FALLBACK_ENTRY_EXISTS,	/* 4 KiB entries in the range */
	DAX_FALLBACK_ENTRY_NOMEM,	/* no memory for the entry */
	DAX_FALLBACK_ENTRY_EIO,		/* a foreign word in the tree */
	DAX_FALLBACK_IOMAP_ERROR,	/* iomap_begin failed */
	DAX_FALLBACK_SHORT_EXTENT,	/* extent shorter than 2 MiB */
	DAX_FALLBACK_UNALIGNED_BLOCK,	/* device offset not page aligned */
	DAX_FALLBACK_DIRECT_ACCESS,	/* device refused the translation */
	DAX_FALLBACK_SHORT_ACCESS,	/* less than 2 MiB contiguous */
	DAX_FALLBACK_UNALIGNED_PFN,	/* frame not 2 MiB aligned */
	DAX_FALLBACK_FOREIGN_PFN,	/* frame of no device */
	DAX_FALLBACK_INSERT_MAPPING,	/* entry or leaf insertion failed */
	DAX_FALLBACK_NO_HUGE_ZERO,	/* no huge zero page */
	DAX_FALLBACK_INSERT_HOLE,	/* insertion of the zero entry failed */
	DAX_FALLBACK_PMD_OCCUPIED,	/* page-table slot no longer empty */
	DAX_FALLBACK_HOLE_WRITE,	/* block map left a hole under a write */
	DAX_FALLBACK_UNKNOWN_TYPE,	/* block map returned an unknown type */
	DAX_FALLBACK_SIZE,		/* neither 4 KiB nor 2 MiB (PUD) */
	DAX_NR_FALLBACK_REASONS
};

/* What a block map says of a range (struct dax_iomap.type). */
enum dax_iomap_type {
	DAX_IOMAP_HOLE = 0,
	DAX_IOMAP_MAPPED = 2,
	DAX_IOMAP_UNWRITTEN = 3
};

/* Remarks on an extent (struct dax_iomap.flags). */
enum dax_iomap_extent_flags {
	DAX_IOMAP_F_NEW = 0x01,		/* blocks were allocated by this call */
	DAX_IOMAP_F_DIRTY = 0x02,	/* the block map has unsaved metadata */
	DAX_IOMAP_F_SHARED = 0x04,	/* blocks are shared with a clone */
	DAX_IOMAP_F_AHEAD = 0x08	/* all of it was a hole before this call */
};

/* Why a block map is asked (flags of iomap_begin). */
enum dax_iomap_request {
	DAX_IOMAP_WRITE = 0x01,		/* allocate where there is a hole */
	DAX_IOMAP_ZERO = 0x02,		/* not asked by this version */
	DAX_IOMAP_REPORT = 0x04,	/* report only, allocate nothing */
	DAX_IOMAP_FAULT = 0x08,		/* whole pages: 4 KiB, or 2 MiB as @length */
	DAX_IOMAP_AHEAD = 0x10		/* only the first page is stored to */
};

/* What a read of a hole inserts. */
enum dax_policy_kind {
	DAX_POLICY_ZERO_PAGE = 0,	/* the common zero page */
	DAX_POLICY_PAGE_CACHE = 1	/* a zeroed page each: the comparator */
};

/* Where the page-cache policy takes its pages from. */
enum dax_page_pool_kind {
	DAX_PAGE_POOL_COLD = 0,		/* fresh memory, faulted in on use */
	DAX_PAGE_POOL_WARM = 1		/* faulted in when the file is made */
};

/* Flags of dax_device_open(). */
enum dax_device_open_flags {
	DAX_DEVICE_CREATE = 0x01,	/* make a new file; it must not exist */
	DAX_DEVICE_OVERWRITE = 0x02	/* what exists is disposable */
};

/* Flags of dax_mapping_open().  None: read only. */
enum dax_mapping_open_flags {
	DAX_OPEN_WRITE = 0x01,		/* read and write what exists */
	DAX_OPEN_TRUNCATE = 0x02	/* the same, made or emptied first */
};

/* What happened to a recorded device (struct dax_record.kind). */
enum dax_record_kind {
	DAX_RECORD_STORE = 1,	/* bytes came into the cache */
	DAX_RECORD_STORE_NT = 2,	/* past it: as STORE and FLUSH */
	DAX_RECORD_ZERO_NT = 3,	/* the same with zeroes: no bytes in the log */
	DAX_RECORD_FLUSH = 4,	/* the cache lines are being written back */
	DAX_RECORD_FENCE = 5	/* what the thread flushed before is durable */
};

/* Flags of a mapping of memory (struct dax_vma_attr.flags). */
enum dax_vma_flags {
	DAX_VM_READ = 0x01,
	DAX_VM_WRITE = 0x02,
	DAX_VM_SHARED = 0x08,
	DAX_VM_SYNC = 0x00800000	/* MAP_SYNC: a flushed store is durable */
};

/* Size of the faults a vma takes (struct dax_vma_attr.pages). */
enum dax_vma_pages {
	DAX_PAGES_AUTO = 0,	/* 2 MiB first, 4 KiB on fallback */
	DAX_PAGES_PTE = 1,	/* 4 KiB only */
	DAX_PAGES_PMD = 2	/* 2 MiB only: a fallback is an error */
};

/* What a mapping of memory is made of (struct dax_vma_attr.backend). */
enum dax_vma_backend {
	DAX_BACKEND_SOFT = 0,	/* a page table in memory: loads and stores are calls */
	DAX_BACKEND_REAL = 1	/* addresses: loads and stores are the CPU's */
};

/* Who serves the faults of a real mapping (struct dax_vma_attr.delivery). */
enum dax_vma_delivery {
	DAX_DELIVERY_THREAD = 0,	/* a thread of the library */
	DAX_DELIVERY_SIGNAL = 1		/* the faulting thread, in a signal handler */
};

/* struct dax_vma_attr.fault_around: what the library thinks best. */
#define DAX_FAULT_AROUND_DEFAULT	UINT64_MAX

/* Trace events, under the kernel's names (dax_trace_event_name()). */
enum dax_trace_event_id {
	DAX_TRACE_PTE_FAULT,
	DAX_TRACE_PTE_FAULT_DONE,
	DAX_TRACE_PMD_FAULT,
	DAX_TRACE_PMD_FAULT_DONE,
	DAX_TRACE_LOAD_HOLE,
	DAX_TRACE_INSERT_MAPPING,
	DAX_TRACE_PMD_LOAD_HOLE,
	DAX_TRACE_PMD_LOAD_HOLE_FALLBACK,
	DAX_TRACE_PMD_INSERT_MAPPING,
	DAX_TRACE_PMD_INSERT_MAPPING_FALLBACK,
	DAX_TRACE_PFN_MKWRITE,		/* page-cache policy only */
	DAX_TRACE_PFN_MKWRITE_NO_ENTRY,	/* the same */
	DAX_TRACE_WRITEBACK_RANGE,
	DAX_TRACE_WRITEBACK_RANGE_DONE,
	DAX_TRACE_WRITEBACK_ONE,
	DAX_NR_TRACE_EVENTS
};

/* One block map answer. */
struct dax_iomap {
	uint64_t addr;		/* byte offset on the device, MAPPED only */
	dax_loff_t offset;	/* byte offset in the file, <= pos asked */
	uint64_t length;	/* bytes from offset */
	uint16_t type;		/* enum dax_iomap_type */
	uint16_t flags;		/* enum dax_iomap_extent_flags */
	struct dax_device *dax_dev;	/* where addr lies; preset to the file's */
	void *private_data;	/* from iomap_begin to iomap_end */
};

/*
 * A block map.  Every call gets the mapping and the private pointer given
 * when the mapping was made.  A NULL member means -EOPNOTSUPP, but for
 * iomap_end, sync and free, which may be NULL when there is nothing to do.
 * Calls return 0 or -errno, and must not call back into the same mapping
 * (such a call gets -EDEADLK).
 *
 * iomap_begin: where is byte @pos?  Fills @iomap with one extent that covers
 *   @pos; it may be shorter or longer than @length, but for a fault it covers
 *   the whole page (a hole may end with the file).  Devices it names are held
 *   by the file until that is gone.  A block that is NEW has zeroes: only what
 *   the caller stores is put there.  A write fault of 2 MiB asks at their first
 *   byte: it gets all of them, or nothing is allocated and the answer is a hole
 *   or short; the 4 KiB fault that follows asks for its page.  Called with the
 *   entry of the page locked when it serves a fault, several at once, those of
 *   reads and writes also on the same page: must be thread safe.
 * iomap_end: called once for each iomap_begin that returned 0; @written is
 *   the number of bytes used, 0 after a failure.
 * fallocate: allocate blocks for [pos, pos+len).  punch: free the whole pages
 *   of the range.  truncate: free all from the page of @size rounded up; also
 *   called when the file grows to @size, but not for a write past the end.
 *   These are called with no fault in progress in the file.
 * sync: make what begin has answered so far durable.  Called with no lock of
 *   the file held, by fsync and by a store through a mapping with DAX_VM_SYNC
 *   that met an extent with F_NEW or F_DIRTY.
 * remap: the bytes [pos, pos+len) are from now on those of [src_pos,
 *   src_pos+len) of @src, whose table has the same remap; it may be the same
 *   file.  Both positions are multiples of 4096, the end may lie in a page.
 *   Whole or not at all.  Called with no fault, read or write in progress in
 *   either file, and with no entry in the tree for a page of either range.
 *
 * Asked with WRITE, FAULT and AHEAD it may take blocks for more than the first
 * page: for holes that follow it, if it is one, and lie together with it on the
 * device.  Then it answers NEW and AHEAD with an extent of nothing else.  Pages
 * that turn out not to be stored to are punched again, so a block that was set
 * aside before (fallocate) is none of them.  Else it answers for the first page
 * as if AHEAD had not been asked.
 *
 * A block map that shares blocks says so (DAX_IOMAP_F_SHARED) when asked with
 * REPORT, and when asked with WRITE answers with a block of the file's own,
 * NEW, that has the bytes already.  It keeps the old block from being used
 * again until iomap_end: then no mapping shows it any more.
 */
struct dax_iomap_ops {
	size_t struct_size;	/* sizeof(struct dax_iomap_ops) */
	int (*iomap_begin)(struct dax_mapping *mapping, void *private_data,
			   dax_loff_t pos, uint64_t length, unsigned int flags,
			   struct dax_iomap *iomap);
	int (*iomap_end)(struct dax_mapping *mapping, void *private_data,
			 dax_loff_t pos, uint64_t length, int64_t written,
			 unsigned int flags, struct dax_iomap *iomap);
	int (*fallocate)(struct dax_mapping *mapping, void *private_data,
			 dax_loff_t pos, uint64_t len);
	int (*punch)(struct dax_mapping *mapping, void *private_data,
		     dax_loff_t pos, uint64_t len);
	int (*truncate)(struct dax_mapping *mapping, void *private_data,
			dax_loff_t size);
	int (*sync)(struct dax_mapping *mapping, void *private_data);
	int (*remap)(struct dax_mapping *mapping, void *private_data,
		     dax_loff_t pos, struct dax_mapping *src,
		     void *src_private_data, dax_loff_t src_pos, uint64_t len);
	void (*free)(struct dax_mapping *mapping, void *private_data);
};

/* How to make a mapping (a file).  Zero what is not used. */
struct dax_mapping_attr {
	size_t struct_size;	/* sizeof(struct dax_mapping_attr) */
	dax_loff_t size;	/* bytes, 0 to 2^63-4096 */
	unsigned int policy;	/* enum dax_policy_kind */
	unsigned int page_pool;	/* enum dax_page_pool_kind */
	const struct dax_iomap_ops *ops;	/* NULL: the built-in extent_map */
	void *private_data;	/* passed to every op */
};

/* How to map a file.  Zero what is not used. */
struct dax_vma_attr {
	size_t struct_size;	/* sizeof(struct dax_vma_attr) */
	dax_loff_t offset;	/* bytes in the file, multiple of 4096 */
	uint64_t length;	/* bytes, > 0; the last page may be partial */
	unsigned int flags;	/* enum dax_vma_flags */
	unsigned int pages;	/* enum dax_vma_pages */
	uint64_t address;	/* soft page table only: the address the mapping
				 * pretends to start at, multiple of 4096;
				 * 0: chosen congruent to offset mod 2 MiB */
	unsigned int backend;	/* enum dax_vma_backend */
	unsigned int delivery;	/* real only: enum dax_vma_delivery */
	uint64_t fault_around;	/* real only: bytes that a fault of a load may
				 * map at most; 0: its page alone, and nothing
				 * beforehand; DAX_FAULT_AROUND_DEFAULT */
};

/* What happened in a fault that failed, or in the last one of a loop. */
struct dax_fault_info {
	dax_vm_fault_t fault;	/* bits returned */
	int error;		/* -errno behind SIGBUS or OOM, else 0 */
	int reason;		/* enum dax_fallback_reason of a PMD fault */
	dax_loff_t offset;	/* bytes in the file of the page */
};

/* One row of dax_mapping_entries(). */
struct dax_entry_info {
	dax_pgoff_t index;	/* first page */
	dax_pfn_t pfn;		/* zero entries: the zero page's, empty: 0 */
	uint8_t order;		/* 0, 9 or 18: 2^order pages */
	uint8_t zero;
	uint8_t empty;
	uint8_t locked;
	uint8_t dirty;
	uint8_t towrite;
	uint8_t page;		/* a page pointer (page-cache policy) */
	uint8_t reserved;
};

/* Bytes of a file where they are, from dax_pin_pages() to dax_unpin_pages(). */
struct dax_pin {
	struct dax_mapping *mapping;	/* a reference */
	void *kaddr;		/* address of the first byte */
	dax_pfn_t pfn;		/* frame of it; a zero frame for a hole */
	dax_loff_t pos;		/* bytes in the file */
	size_t len;		/* bytes from there; 0: nothing is pinned */
	int write;		/* 1: may be stored to */
};

/* One row of dax_device_log(). */
struct dax_record {
	uint64_t offset;	/* bytes on the device; 0 for a fence */
	uint64_t length;	/* bytes; 0 for a fence */
	uint64_t data;		/* where the bytes of a store begin in the log's */
	uint32_t kind;		/* enum dax_record_kind */
	uint32_t thread;	/* number of the thread, from 1 */
};

/* One row of dax_mapping_extents().  Holes are rows too. */
struct dax_extent {
	dax_loff_t offset;	/* bytes in the file */
	uint64_t length;	/* bytes */
	uint64_t device_offset;	/* bytes on the device; 0 for a hole */
	uint32_t type;		/* enum dax_iomap_type */
	uint32_t flags;		/* enum dax_iomap_extent_flags */
};

/* What stands behind the pages of a vma: dax_vma_memory().  Bytes. */
struct dax_memory_info {
	uint64_t zero_bytes;	/* holes that show the common zero page */
	uint64_t data_bytes;	/* pages of the device; page-cache pages */
	uint64_t copy_bytes;	/* private copies */
	uint64_t page_table_bytes; /* the CPU's, at most; 0: the vma is soft */
};

/*
 * One row of dax_trace_read().  What an event does not have is 0; the names
 * are those of the kernel's events.
 */
struct dax_trace_event {
	uint64_t time;		/* ns of CLOCK_MONOTONIC */
	uint64_t ino;		/* the file: dax_mapping_ino() */
	uint64_t address;	/* of the page, as its vma counts */
	uint64_t vm_start;	/* addresses; dax_pmd_fault and _done only */
	uint64_t vm_end;
	dax_pgoff_t pgoff;	/* page of the file; writeback: the first */
	dax_pgoff_t max_pgoff;	/* dax_pmd_fault and _done: pages of the file;
				 * dax_writeback_range and _done: the last page
				 * (end_index) */
	dax_entry_t radix_entry;	/* the word that went into the tree */
	dax_pfn_t pfn;		/* of the frame mapped, a zero page's too */
	uint32_t nr_pages;	/* dax_pmd_insert_mapping: of the frame;
				 * dax_writeback_one: of the entry (pglen) */
	uint32_t thread;	/* gettid(2) */
	dax_vm_fault_t result;	/* *_done, dax_load_hole, dax_pfn_mkwrite */
	int32_t error;		/* -errno behind SIGBUS or OOM */
	uint16_t event;		/* enum dax_trace_event_id */
	uint16_t cpu;
	uint16_t reason;	/* enum dax_fallback_reason behind FALLBACK */
	uint8_t write;		/* the access is a store */
	uint8_t shared;		/* the vma is shared */
};

#endif
