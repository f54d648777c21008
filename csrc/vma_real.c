/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vma_real.c -- real addresses: loads and stores are the CPU's
 *
 * Owns: the addresses, what stands behind them, the descriptor that tells of
 *       touches.
 * Locks: as vma_soft.c, whose leaves this follows: what stands behind a page
 *        changes under its entry lock or under invalidate_lock exclusive, before
 *        its leaf is inserted and after it is dropped.  Inside the entry lock:
 *        `saved_lock` while copies are taken out of a piece, `lock` for the lists
 *        of strays and of poisoned pages and the streak of stores, and inside
 *        them `stage_lock` for what zeroes and pieces are made of.
 * Kernel: mm/memory.c, insert_pfn(), zap_pte_range() (v4.14).
 * Differs: a device frame is writable from the start, since no other kind of
 *          memory than a shared piece of the file can follow it.  What the CPU
 *          stored to it is found out (enum tracking), and its leaf is writable,
 *          that is, DIRTY, when a call or a fault stored to it.
 */
#include "vma_real.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "copy_mc.h"
#include "device.h"
#include "entry_lock.h"
#include "errormsg.h"
#include "fault.h"
#include "fault_around.h"
#include "fault_delivery.h"
#include "frames.h"
#include "iomap.h"
#include "move.h"
#include "rw.h"
#include "uffd.h"
#include "uffd_swap.h"
#include "vm_area.h"
#include "vma_soft.h"

enum {
	POISONED_MAX = 64,
	EXTENT_ROWS = 64,
	STUCK = 3,	/* touches of a page that has its leaf, in a row */
	STREAK_GROWTH = 8,
	STAGE_PAGES = 16,	/* of 2 MiB */
	SAVED_PAGES = 64
};

/* Page tables of zeroes that nobody has asked for yet: 32 MiB at most. */
static const uint64_t prefault_max = UINT64_C(16) << 30;
static const uint64_t spare_max = UINT64_C(1) << 30;
static const uint64_t fault_around_default = UINT64_C(32) << 20;

/*
 * A store that came between the insertion of zeroes and their protection: it
 * went to a private copy of the zero page, which nobody else sees.  Its bytes
 * are kept until the page has a block.
 */
struct stray {
	struct stray *next;
	dax_pgoff_t pgoff;
	char bytes[DAX_PAGE_SIZE];
};

/*
 * How stores to device frames are found out, if the mapping is shared and writable.
 *
 *   NONE     they are not: a leaf that the CPU could have stored to is writable, and
 *            what has one counts as stored to, until it goes
 *   PROTECT  the page is write-protected when it is mapped for a load and when it has
 *            been flushed: the first store to it is a fault
 *   ASYNC    likewise, but the kernel takes the protection away and remembers it
 */
enum tracking { TRACKING_NONE, TRACKING_PROTECT, TRACKING_ASYNC };

struct vma_real {
	struct fault_area area;
	enum tracking tracking;
	int stores_fd;			/* what protects: the area's, or its own */
	bool detached;			/* nobody can store any more */
	struct dax_vma *vma;
	unsigned int features;		/* enum uffd_feature */
	uint64_t fault_around;		/* pages */
	bool prefaulting;		/* the zeroes are there already */
	_Atomic bool broken;		/* there was no memory to drop a page */
	/* Loads in a row: where the next one would be, how far to go then. */
	_Atomic dax_pgoff_t streak_next;
	_Atomic uint64_t streak_pages;
	struct fault_streak stores;	/* the same of stores, guarded by lock */

	/* Of a private mapping: copies that the kernel has made go through here. */
	struct mutex saved_lock;
	char *saved;	/* SAVED_PAGES; had beforehand, since a zap cannot fail */

	/* 2 MiB pages of zeroes, to be moved to where they are wanted; memory
	 * without pages, to stand in place of pieces of the file. */
	struct mutex stage_lock;
	char *stage;
	unsigned int stage_left;
	struct uffd_spare spare;

	struct mutex lock;
	struct stray *strays;
	_Atomic unsigned int nr_strays;
	_Atomic int stray_error;	/* why they have no blocks: an fsync tries again */
	_Atomic unsigned int nr_poisoned;
	dax_pgoff_t poisoned[POISONED_MAX];
};

static char *address_of(const struct vma_real *real, dax_pgoff_t pgoff)
{
	return real->area.start + ((pgoff - real->vma->vm_pgoff) << DAX_PAGE_SHIFT);
}

static size_t bytes_of(dax_pgoff_t nr)
{
	return (size_t)nr << DAX_PAGE_SHIFT;
}

static bool leaf_is_device(uint64_t leaf)
{
	return pfn_is_device(leaf >> DAX_PAGE_SHIFT);
}

static int map_error(int err, dax_pgoff_t pgoff)
{
	if (err == -ENOMEM)
		return dax_error(err, "page %" PRIu64 " cannot be mapped: the process has "
				 "no more memory areas (vm.max_map_count) or address "
				 "space (RLIMIT_AS, RLIMIT_DATA)", pgoff);
	return dax_error(err, "page %" PRIu64 " cannot be mapped", pgoff);
}

/* ---- stores that came too early ------------------------------------------------------ */

/* A page that the CPU could have stored to until now, without a lock. */
static void copy_out(char *to, const char *page)
{
	const _Atomic uint64_t *word = (const void *)page;

	for (size_t i = 0; i < DAX_PAGE_SIZE / sizeof(*word); i++) {
		uint64_t value = READ_ONCE(word[i]);

		memcpy(to + i * sizeof(value), &value, sizeof(value));
	}
}

static int note_stray(struct vma_real *real, dax_pgoff_t pgoff)
{
	struct stray *stray = dax_zalloc(sizeof(*stray));

	if (!stray)
		return dax_error(-ENOMEM, "no memory for a page that was stored to");
	stray->pgoff = pgoff;
	/* It is there, and protected. */
	copy_out(stray->bytes, address_of(real, pgoff));
	mutex_lock(&real->lock);
	stray->next = real->strays;
	real->strays = stray;
	atomic_fetch_add(&real->nr_strays, 1);
	mutex_unlock(&real->lock);
	return 0;
}

static bool page_is_zero(const char *page)
{
	const _Atomic uint64_t *word = (const void *)page;
	uint64_t bits = 0;

	for (size_t i = 0; !bits && i < DAX_PAGE_SIZE / sizeof(*word); i += 8)
		bits = READ_ONCE(word[i]) | READ_ONCE(word[i + 1]) |
		       READ_ONCE(word[i + 2]) | READ_ONCE(word[i + 3]) |
		       READ_ONCE(word[i + 4]) | READ_ONCE(word[i + 5]) |
		       READ_ONCE(word[i + 6]) | READ_ONCE(word[i + 7]);
	return !bits;
}

static void look_for_zero(void *ret_zero, const void *page, size_t n)
{
	(void)n;
	*(bool *)ret_zero = page_is_zero(page);
}

/* A page is read sooner than the page map is asked.  But it may have been taken away
 * (madvise(2)): then the touch, from inside a fault, is refused and ends the look.
 * The thread that serves touches would sleep in it. */
static bool still_zero(struct vma_real *real, dax_pgoff_t pgoff)
{
	bool zero = false;

	return real->area.signal &&
	       !move_mc(look_for_zero, &zero, address_of(real, pgoff), DAX_PAGE_SIZE) &&
	       zero;
}

/*
 * Zeroes were inserted, then protected: who stored in between?  What there is no
 * memory for is lost, and the next fsync() says so.
 */
static int note_strays(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr)
{
	uint64_t pages[DAX_PMD_NR_PAGES];
	int64_t found = vm_area_private_pages(address_of(real, first), bytes_of(nr),
					      pages, DAX_PMD_NR_PAGES);
	int ret = found < 0 ? (int)found : 0;

	for (int64_t i = 0; !ret && i < found; i++)
		if (!page_is_zero(address_of(real, first + pages[i])))
			ret = note_stray(real, first + pages[i]);
	if (ret)
		mapping_set_error(real->vma->mapping, ret);
	return ret;
}

/* The lock held. */
static struct stray *take_stray(struct vma_real *real, dax_pgoff_t first,
				dax_pgoff_t nr)
{
	struct stray **link, *stray;

	for (link = &real->strays; (stray = *link); link = &stray->next) {
		if (stray->pgoff - first >= nr)
			continue;
		*link = stray->next;
		break;
	}
	return stray;
}

/* It is counted until its bytes are where they belong. */
static void free_stray(struct vma_real *real, struct stray *stray)
{
	atomic_fetch_sub(&real->nr_strays, 1);
	dax_free(stray);
}

/*
 * What was stored goes into the block: the bytes that are not zero, since the page
 * was a hole.  It is durable as a pwrite is: the page need not be DIRTY.
 */
static int merge_stray(struct dax_device *dev, char *page, const struct stray *stray)
{
	int ret = 0;

	for (size_t from = 0; !ret && from < DAX_PAGE_SIZE;) {
		size_t to = from;

		while (to < DAX_PAGE_SIZE && stray->bytes[to])
			to++;
		if (to > from)
			ret = dev->persist->store_nt(dev, page + from,
						     stray->bytes + from, to - from);
		from = to + 1;
	}
	dev->persist->fence(dev);
	return ret;
}

/* The pages get blocks, from @pfn on.  Who stores to them next comes later than a
 * merge that another thread has begun: the lock is held, and waited for. */
static int merge_strays(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr,
			dax_pfn_t pfn)
{
	struct stray *stray;
	int ret = 0;

	if (likely(!smp_load_acquire(&real->nr_strays)))
		return 0;
	mutex_lock(&real->lock);
	while (!ret && (stray = take_stray(real, first, nr))) {
		ret = merge_stray(pfn_device(pfn),
				  pfn_to_kaddr(pfn + (stray->pgoff - first)), stray);
		free_stray(real, stray);
	}
	mutex_unlock(&real->lock);
	return ret;
}

static void forget_strays(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t last)
{
	struct stray *stray;

	mutex_lock(&real->lock);
	while ((stray = take_stray(real, first, last - first + 1)))
		free_stray(real, stray);
	mutex_unlock(&real->lock);
}

/* Bytes [pos, end) of the file, which may begin and end within pages. */
static void zero_strays(struct vma_real *real, uint64_t pos, uint64_t end)
{
	mutex_lock(&real->lock);
	for (struct stray *stray = real->strays; stray; stray = stray->next) {
		uint64_t base = stray->pgoff << DAX_PAGE_SHIFT;
		uint64_t from = pos > base ? pos - base : 0;
		uint64_t to = end - base < DAX_PAGE_SIZE ? end - base : DAX_PAGE_SIZE;

		if (end > base && from < to)
			memset(stray->bytes + from, 0, to - from);
	}
	mutex_unlock(&real->lock);
}

static bool first_stray(struct vma_real *real, dax_pgoff_t *ret_pgoff)
{
	bool any;

	mutex_lock(&real->lock);
	any = real->strays;
	if (any)
		*ret_pgoff = real->strays->pgoff;
	mutex_unlock(&real->lock);
	return any;
}

/* Who comes across a stray did not ask for a store, and waits for no thaw. */
static int64_t fault_stray(struct vma_real *real, dax_pgoff_t pgoff)
{
	bool before = fault_retry_nowait;
	int64_t ret;

	fault_retry_nowait = true;
	ret = vma_fault_range(real->vma, pgoff, 1, true, NULL, 0, NULL);
	fault_retry_nowait = before;
	return ret;
}

/* They get their blocks by faults of their own; in a frozen file, at the first fault
 * or fsync after the thaw.  Context: no lock of the file, or invalidate_lock shared,
 * held. */
static int absorb_strays(struct vma_real *real)
{
	dax_pgoff_t pgoff;
	int64_t ret = 0;

	while (ret >= 0 && unlikely(READ_ONCE(real->nr_strays)) &&
	       first_stray(real, &pgoff)) {
		ret = fault_stray(real, pgoff);
		if (!ret)	/* it had a block all the time */
			forget_strays(real, pgoff, pgoff);
	}
	if (ret >= 0 || ret == -EINTR)
		return 0;
	WRITE_ONCE(real->stray_error, (int)ret);
	return (int)ret;
}

/* ---- what stands behind a page -------------------------------------------------------- */

/* Nothing that this process can see is left of a page that could not be
 * dropped. */
static void give_up(struct vma_real *real)
{
	WRITE_ONCE(real->broken, true);
	vm_area_protect(real->area.start, real->area.length, false, false);
}

/* Touches of what was closed are told of. */
static int open_registered(const struct vma_real *real, char *addr, size_t len)
{
	int ret = uffd_register(real->area.uffd, addr, len);

	if (!ret)
		ret = vm_area_protect(addr, len, true, real->area.writable);
	return ret;
}

/* stage_lock held. */
static int make_spare(struct vma_real *real)
{
	size_t len = real->area.length < spare_max ? real->area.length : spare_max;
	void *start;
	int ret = vm_area_reserve(&start, len, 0);

	if (ret)
		return ret;
	ret = vm_area_replace(start, len);
	if (!ret)
		ret = open_registered(real, start, len);
	if (ret) {
		vm_area_release(start, len);
		return ret;
	}
	real->spare = (struct uffd_spare){
		.fd = real->area.uffd, .start = start, .length = len,
		.area = real->area.start, .area_len = real->area.length,
	};
	return 0;
}

/* System calls that touch it sleep like anybody else, and never see the place
 * closed. */
static int swap_in(struct vma_real *real, char *addr, size_t len)
{
	int ret = 0;

	if (!(real->features & UFFD_KEEPS_REMAP))
		return -EOPNOTSUPP;
	mutex_lock(&real->stage_lock);
	if (!real->spare.start)
		ret = make_spare(real);
	mutex_unlock(&real->stage_lock);
	return ret ? ret : uffd_swap(&real->spare, addr, len);
}

/* In between the place is closed: whoever touches it gets SIGSEGV, and tries
 * again. */
static int put_closed(const struct vma_real *real, char *addr, size_t len)
{
	int ret = vm_area_replace(addr, len);

	dax_test_yield(DAX_TEST_PIECE_GONE);
	return ret ? ret : open_registered(real, addr, len);
}

/* Anonymous memory without pages, in place of a piece of a file. */
static int make_anonymous(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr)
{
	char *addr = address_of(real, first);
	int ret = swap_in(real, addr, bytes_of(nr));

	if (ret)
		return put_closed(real, addr, bytes_of(nr));
	dax_test_yield(DAX_TEST_PIECE_GONE);
	return 0;
}

/* ---- pages that answer with SIGBUS ------------------------------------------------- */

/* real->lock held. */
static void clear_poison(struct vma_real *real, unsigned int i)
{
	dax_pgoff_t pgoff = real->poisoned[i];

	real->poisoned[i] = real->poisoned[--real->nr_poisoned];
	if (real->features & UFFD_CAN_POISON)
		vm_area_discard(address_of(real, pgoff), DAX_PAGE_SIZE);
	else if (make_anonymous(real, pgoff, 1))
		give_up(real);
}

static int set_poison(struct vma_real *real, char *addr)
{
	if (!(real->features & UFFD_CAN_POISON))
		return vm_area_map_nothing(addr, DAX_PAGE_SIZE, real->area.writable);
	vm_area_discard(addr, DAX_PAGE_SIZE);
	return uffd_poison(real->area.uffd, addr, DAX_PAGE_SIZE);
}

static bool is_poisoned(const struct vma_real *real, dax_pgoff_t pgoff)
{
	bool found = false;

	for (unsigned int i = 0; i < real->nr_poisoned; i++)
		found |= real->poisoned[i] == pgoff;
	return found;
}

static void poison(struct vma_real *real, dax_pgoff_t pgoff)
{
	mutex_lock(&real->lock);
	if (!is_poisoned(real, pgoff)) {
		if (real->nr_poisoned == POISONED_MAX)
			clear_poison(real, 0);
		if (!set_poison(real, address_of(real, pgoff)))
			real->poisoned[real->nr_poisoned++] = pgoff;
	}
	mutex_unlock(&real->lock);
}

/* Before something is put there.  The entry locks of the pages are held. */
static void unpoison(struct vma_real *real, dax_pgoff_t pgoff, dax_pgoff_t nr)
{
	if (likely(!READ_ONCE(real->nr_poisoned)))
		return;
	mutex_lock(&real->lock);
	for (unsigned int i = 0; i < real->nr_poisoned;)
		if (real->poisoned[i] - pgoff < nr)
			clear_poison(real, i);
		else
			i++;
	mutex_unlock(&real->lock);
}

/* ---- zeroes, frames, copies ----------------------------------------------------------- */

/* stage_lock held. */
static int fill_stage(struct vma_real *real)
{
	size_t len = STAGE_PAGES * DAX_PMD_SIZE;
	void *stage = real->stage;
	int ret = 0;

	if (!stage) {
		ret = vm_area_reserve(&stage, len, 0);
		if (!ret)
			ret = vm_area_replace(stage, len);
		if (!ret)
			ret = vm_area_protect(stage, len, true, true);
	}
	real->stage = stage;
	if (!ret)
		ret = vm_area_populate_huge_zero(stage, len);
	if (!ret)
		real->stage_left = STAGE_PAGES;
	return ret;
}

/* Move a page of zeroes, all 2 MiB of it, to where nothing is. */
static int move_huge_zero(struct vma_real *real, char *addr)
{
	int ret = 0;

	mutex_lock(&real->stage_lock);
	if (!real->stage_left)
		ret = fill_stage(real);
	if (!ret)
		ret = uffd_move(real->area.uffd, addr,
				real->stage + (real->stage_left - 1) * DAX_PMD_SIZE,
				DAX_PMD_SIZE);
	if (!ret)
		real->stage_left--;
	mutex_unlock(&real->stage_lock);
	return ret;
}

/*
 * Pages are moved between writable areas only, so a read-only one is that for the
 * moment.  Who stores to it just then deserves SIGSEGV; what it stored goes.
 */
static int move_huge_zero_readonly(struct vma_real *real, char *addr)
{
	int ret = vm_area_protect(addr, DAX_PMD_SIZE, true, true), closed;
	uint64_t page;

	if (!ret)
		ret = move_huge_zero(real, addr);
	dax_test_yield(DAX_TEST_ZEROES_INSERTED);
	closed = vm_area_protect(addr, DAX_PMD_SIZE, true, false);
	if (!ret && (closed || vm_area_private_pages(addr, DAX_PMD_SIZE, &page, 1))) {
		vm_area_discard(addr, DAX_PMD_SIZE);
		ret = -EAGAIN;
	}
	return ret;
}

static bool insert_huge_zero(struct vma_real *real, char *addr)
{
	if (!(real->features & UFFD_CAN_MOVE) || !vm_area_has_huge_zero())
		return false;
	return !(real->area.writable ? move_huge_zero(real, addr)
				     : move_huge_zero_readonly(real, addr));
}

/* The huge zero page where it can be had, else as many small ones. */
static int insert_zeroes(struct vma_real *real, char *addr, dax_pgoff_t nr)
{
	if (nr == DAX_PMD_NR_PAGES && insert_huge_zero(real, addr))
		return 0;
	return uffd_zeropage(real->area.uffd, addr, bytes_of(nr));
}

/* In this order: a store is told of by the kernel, or found here. */
static int protect_zeroes(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr)
{
	bool late = dax_test_mutated(DAX_MUTATE_PROTECT_LATE);
	int ret = late ? note_strays(real, first, nr) : 0;

	dax_test_yield(DAX_TEST_ZEROES_INSERTED);
	if (!ret && !dax_test_mutated(DAX_MUTATE_NO_PROTECT))
		ret = uffd_writeprotect(real->area.uffd, address_of(real, first),
					bytes_of(nr), true);
	dax_test_yield(DAX_TEST_ZEROES_PROTECTED);
	if (!ret && !late && nr == 1 && still_zero(real, first))
		return 0;
	if (!ret && !late)
		ret = note_strays(real, first, nr);
	return ret;
}

static int carry_zero(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr)
{
	char *addr = address_of(real, first);
	int ret;

	if (real->prefaulting)
		return 0;
	unpoison(real, first, nr);
	ret = insert_zeroes(real, addr, nr);
	if (!ret && real->area.writable)
		ret = protect_zeroes(real, first, nr);
	return ret ? map_error(ret, first) : 0;
}

/* The next store to pages that are there, or not yet, is found out. */
static int arm(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr)
{
	return uffd_writeprotect(real->stores_fd, address_of(real, first), bytes_of(nr),
				 true);
}

static int register_and_arm(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr)
{
	int ret = uffd_register_stores(real->stores_fd, address_of(real, first),
				       bytes_of(nr));

	return ret ? ret : arm(real, first, nr);
}

/*
 * A piece was mapped for a load.  true: stores to it are found out, those that have
 * come already too, since who was that early has made his page present, and what
 * was absent when it was protected has a marker instead.
 */
static bool track(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr)
{
	uint64_t page;

	if (real->tracking == TRACKING_NONE)
		return false;
	dax_test_yield(DAX_TEST_FRAMES_MAPPED);
	if (register_and_arm(real, first, nr))
		return false;
	return dax_test_mutated(DAX_MUTATE_TRACK_LATE) ||
	       vm_area_present_pages(address_of(real, first), bytes_of(nr), &page,
				     1) == 0;
}

/* false: it was not mapped for stores, or is not tracked. */
static bool reopen(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr)
{
	return real->tracking != TRACKING_NONE &&
	       !uffd_writeprotect(real->stores_fd, address_of(real, first),
				  bytes_of(nr), false);
}

static int carry_frames(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr,
			dax_pfn_t pfn, bool write)
{
	struct dax_device *dev = pfn_device(pfn);
	uint64_t offset = (pfn - dev->pfn_base) << DAX_PAGE_SHIFT;
	bool shared = vma_is_shared(real->vma);
	int ret = 0;

	unpoison(real, first, nr);
	if (!vm_area_has_room())
		ret = -ENOMEM;
	if (!ret && shared)
		ret = merge_strays(real, first, nr, pfn);
	if (!ret)
		ret = vm_area_map_file(address_of(real, first), bytes_of(nr), dev->fd,
				       offset, write, shared);
	return ret ? map_error(ret, first) : 0;
}

/* The bytes of frames, write-protected. */
static int carry_copy(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr,
		      dax_pfn_t pfn)
{
	int ret;

	unpoison(real, first, nr);
	ret = uffd_copy(real->area.uffd, address_of(real, first), pfn_to_kaddr(pfn),
			bytes_of(nr), true);
	return ret ? map_error(ret, first) : 0;
}

/* Is one of the frames shared?  Of an entry of 2 MiB all are meant: a store to one
 * page makes it DIRTY as a whole. */
static bool any_shared(const struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr,
		       dax_pfn_t pfn)
{
	dax_pfn_t pmd_pfn = dax_pmd_pfn(real->vma->mapping, first);
	bool found = false;

	if (pmd_pfn) {
		pfn = pmd_pfn;
		nr = DAX_PMD_NR_PAGES;
	}
	for (dax_pgoff_t i = 0; !found && i < nr; i++)
		found = pfn_may_move(pfn + i);
	return found;
}

/* May the CPU store to the frames, when a load (@mkwrite: a store) asks? */
static bool may_write(const struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr,
		      dax_pfn_t pfn, bool mkwrite)
{
	if (!real->area.writable || !pfn_is_device(pfn))
		return false;
	if (mkwrite || !vma_is_shared(real->vma))
		return true;
	return !mapping_is_frozen(real->vma->mapping) &&
	       !(READ_ONCE(frames_ever_shared) && any_shared(real, first, nr, pfn));
}

/* Put @pfn and the following behind pages that have nothing. */
static int carry(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr,
		 dax_pfn_t pfn, bool write)
{
	if (pfn == DAX_ZERO_PFN || pfn == DAX_HUGE_ZERO_PFN)
		return carry_zero(real, first, nr);
	if (!pfn_is_device(pfn))
		return carry_copy(real, first, nr, pfn);
	return carry_frames(real, first, nr, pfn, write);
}

/* A run of pages whose leaves have gone. */
static void drop(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr, bool file)
{
	if (!file)
		vm_area_discard(address_of(real, first), bytes_of(nr));
	else if (make_anonymous(real, first, nr))
		give_up(real);
}

/* ---- leaves ------------------------------------------------------------------------------ */

static int real_insert_mixed(struct dax_vm_fault *vmf, dax_pfn_t pfn, bool mkwrite)
{
	struct vma_real *real = vmf->vma->real;
	uint64_t leaf = vma_soft_leaf(vmf->vma, vmf->pgoff);
	bool write = may_write(real, vmf->pgoff, 1, pfn, mkwrite);
	bool shared = vma_is_shared(vmf->vma);
	int ret = 0;

	if (!leaf)
		ret = carry(real, vmf->pgoff, 1, pfn, write);
	else if (mkwrite && !(leaf & LEAF_WRITE) && leaf >> DAX_PAGE_SHIFT == pfn &&
		 !reopen(real, vmf->pgoff, 1))
		ret = carry_frames(real, vmf->pgoff, 1, pfn, write);
	if (!ret && !leaf && write && !mkwrite && track(real, vmf->pgoff, 1))
		write = false;
	if (!ret)
		ret = vma_soft_ops.insert_mixed(vmf, pfn, mkwrite || (write && shared));
	if (ret && ret != -EBUSY && !leaf)
		drop(real, vmf->pgoff, 1, pfn_is_device(pfn));
	return ret;
}

/* Pages that have nothing.  After a load their leaves are writable if stores to the
 * pages are not found out. */
static int insert_gap(struct dax_vm_fault *vmf, dax_pgoff_t pgoff, dax_pgoff_t nr,
		      dax_pfn_t pfn, bool write, bool mkwrite)
{
	struct vma_real *real = vmf->vma->real;
	bool leaf_write = write && vma_is_shared(vmf->vma);
	int ret = carry(real, pgoff, nr, pfn, write);

	if (!ret && write && !mkwrite && track(real, pgoff, nr))
		leaf_write = false;
	return ret ? ret : vma_soft_ops.insert_run(vmf, pgoff, (unsigned int)nr, pfn,
						   leaf_write);
}

/* Leaves that are there already stay as they are, whatever the pages beside them
 * may: what stands behind one may be read-only, and its own fault tells. */
static int insert_gaps(struct dax_vm_fault *vmf, dax_pgoff_t pgoff, unsigned int nr,
		       dax_pfn_t pfn, bool write, bool mkwrite)
{
	bool zero = pfn == DAX_ZERO_PFN;
	unsigned int from = 0, to;
	int ret = 0;

	for (; !ret && from < nr; from = to + 1) {
		for (to = from; to < nr && !vma_soft_leaf(vmf->vma, pgoff + to);)
			to++;
		if (to > from)
			ret = insert_gap(vmf, pgoff + from, to - from,
					 zero ? pfn : pfn + from, write, mkwrite);
	}
	return ret;
}

/* Nothing stands behind a page that has no leaf. */
static void drop_gaps(struct vma_real *real, dax_pgoff_t pgoff, unsigned int nr,
		      bool file)
{
	for (unsigned int i = 0; i < nr; i++)
		if (!vma_soft_leaf(real->vma, pgoff + i))
			drop(real, pgoff + i, 1, file);
}

static int real_insert_run(struct dax_vm_fault *vmf, dax_pgoff_t pgoff,
			   unsigned int nr, dax_pfn_t pfn, bool mkwrite)
{
	struct vma_real *real = vmf->vma->real;
	bool write = may_write(real, pgoff, nr, pfn, mkwrite);
	int ret = insert_gaps(vmf, pgoff, nr, pfn, write, mkwrite);

	if (ret)
		drop_gaps(real, pgoff, nr, pfn_is_device(pfn));
	else if (mkwrite && write)
		vm_area_populate_write(address_of(real, pgoff), bytes_of(nr),
				       pfn_device(pfn)->kind == DEVICE_MEMORY);
	return ret;
}

static int real_insert_pfn_pmd(struct dax_vm_fault *vmf, dax_pfn_t pfn, bool write)
{
	struct vma_real *real = vmf->vma->real;
	dax_pgoff_t first = radix_tree_canonical(vmf->pgoff, DAX_PMD_ORDER);
	uint64_t leaf = vma_soft_leaf(vmf->vma, vmf->pgoff);
	bool may = may_write(real, first, DAX_PMD_NR_PAGES, pfn, write);
	bool shared = vma_is_shared(vmf->vma);
	int ret = 0;

	switch (vma_soft_ops.pmd_state(vmf->vma, vmf->pgoff)) {
	case VMA_PMD_TABLE:
		return -EBUSY;
	case VMA_PMD_NONE:
		ret = carry(real, first, DAX_PMD_NR_PAGES, pfn, may);
		if (!ret && may && !write && track(real, first, DAX_PMD_NR_PAGES))
			may = false;
		break;
	case VMA_PMD_HUGE:
		if (write && !(leaf & LEAF_WRITE) && leaf >> DAX_PAGE_SHIFT == pfn &&
		    !reopen(real, first, DAX_PMD_NR_PAGES))
			ret = carry_frames(real, first, DAX_PMD_NR_PAGES, pfn, may);
		break;
	}
	if (!ret)
		ret = vma_soft_ops.insert_pfn_pmd(vmf, pfn, write || (may && shared));
	/* A table came in the way: it has no leaves as long as we hold the entry. */
	if (ret && !leaf && !real->prefaulting)
		drop(real, first, DAX_PMD_NR_PAGES, pfn_is_device(pfn));
	return ret;
}

/* Leaves of one kind that stand side by side. */
struct run {
	dax_pgoff_t first;
	dax_pgoff_t nr;
	bool file;
};

/*
 * Of a private piece of a file the kernel's copies stay: they are taken out,
 * while nobody can store to them, and put back.
 */
static int64_t save_copies(struct vma_real *real, const struct run *run,
			   uint64_t *pages, char *buf, size_t room)
{
	char *addr = address_of(real, run->first);
	int64_t found = vm_area_protect(addr, bytes_of(run->nr), true, false);

	if (found)
		return found;
	found = vm_area_copied_pages(addr, bytes_of(run->nr), pages, room);
	for (int64_t i = 0; i < found; i++)
		copy_out(buf + bytes_of((dax_pgoff_t)i), addr + bytes_of(pages[i]));
	return found;
}

/* A private mapping's stray stores belong into the copy. */
static void merge_into_copy(struct vma_real *real, dax_pgoff_t pgoff, char *page)
{
	struct stray *stray;

	if (likely(!READ_ONCE(real->nr_strays)))
		return;
	mutex_lock(&real->lock);
	while ((stray = take_stray(real, pgoff, 1))) {
		for (size_t i = 0; i < DAX_PAGE_SIZE; i++)
			if (stray->bytes[i])
				page[i] = stray->bytes[i];
		free_stray(real, stray);
	}
	mutex_unlock(&real->lock);
}

/* The kernel has made a copy already, perhaps: then that is the page. */
static int prefer_copy(struct vma_real *real, dax_pgoff_t pgoff, char *page)
{
	const struct run run = { .first = pgoff, .nr = 1, .file = true };
	uint64_t number;
	int64_t found = save_copies(real, &run, &number, page, 1);

	return found < 0 ? (int)found : 0;
}

/* The copy is at the address, not where it was made: the leaf says so. */
static int real_finish_cow(struct dax_vm_fault *vmf, void *page)
{
	struct vma_real *real = vmf->vma->real;
	uint64_t leaf = vma_soft_leaf(vmf->vma, vmf->pgoff);
	char *addr = address_of(real, vmf->pgoff);
	int ret;

	if (leaf & LEAF_ANON)
		return -EBUSY;
	unpoison(real, vmf->pgoff, 1);
	if (leaf && leaf_is_device(leaf)) {
		ret = prefer_copy(real, vmf->pgoff, page);
		if (ret)
			return map_error(ret, vmf->pgoff);
	}
	merge_into_copy(real, vmf->pgoff, page);
	if (leaf)
		drop(real, vmf->pgoff, 1, leaf_is_device(leaf));
	ret = uffd_copy(real->area.uffd, addr, page, DAX_PAGE_SIZE, false);
	if (ret)
		return map_error(ret, vmf->pgoff);
	ret = vma_soft_ops.finish_cow(vmf, addr);
	if (ret)
		vm_area_discard(addr, DAX_PAGE_SIZE);
	else
		dax_free(page);
	return ret;
}

/*
 * What was stored through a leaf that goes is in the tag.  Not so of a block taken
 * ahead: its bytes tell, before it is given back or written back.  The entry is the
 * caller's.
 */
static void transfer_dirty(struct dax_mapping *mapping, dax_pgoff_t pgoff)
{
	struct dax_slot slot = { .mapping = mapping };

	if (radix_tree_walk(&mapping->i_pages, pgoff, 0, &slot.iter) &&
	    radix_tree_exceptional_entry(slot.iter.entry) &&
	    dax_is_data_entry(slot.iter.entry) &&
	    !radix_tree_tag_get(&slot.iter, DAX_PAGECACHE_TAG_AHEAD))
		dax_tag_dirty(&slot);
}

typedef int64_t scan_fn(const void *addr, size_t len, uint64_t *ret_pages, size_t nr);
typedef void tag_fn(struct dax_mapping *mapping, struct percpu_area *area,
		    dax_pgoff_t pgoff);

/* The pages of [first, last] that @scan finds; a 2 MiB leaf is told of once. */
static int for_each_scanned(struct dax_vma *vma, dax_pgoff_t first, dax_pgoff_t last,
			    scan_fn *scan, tag_fn *tag, struct percpu_area *area)
{
	uint64_t pages[DAX_PMD_NR_PAGES];
	dax_pgoff_t next = first;

	while (next <= last) {
		dax_pgoff_t from = next;
		int64_t nr = scan(address_of(vma->real, from),
				  bytes_of(last - from + 1), pages, DAX_PMD_NR_PAGES);

		for (int64_t i = 0; i < nr; i++) {
			if (from + pages[i] < next)
				continue;
			next = from + pages[i];
			tag(vma->mapping, area, next);
			next = vma_soft_leaf(vma, next) & LEAF_HUGE ?
				       (next | (DAX_PMD_NR_PAGES - 1)) + 1 : next + 1;
		}
		if (nr < DAX_PMD_NR_PAGES)
			return nr < 0 ? (int)nr : 0;
	}
	return 0;
}

static void transfer_scanned(struct dax_mapping *mapping, struct percpu_area *area,
			     dax_pgoff_t pgoff)
{
	(void)area;
	transfer_dirty(mapping, pgoff);
}

/*
 * Leaves go that are not writable.  As long as the CPU can store to their pages it
 * may do so after the question, up to the moment when they are gone: then all that
 * it could have stored to counts.
 */
static void transfer_tracked(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t last)
{
	struct dax_vma *vma = real->vma;
	dax_pgoff_t nr;
	uint64_t leaf;

	if (real->tracking != TRACKING_ASYNC ||
	    !for_each_scanned(vma, first, last, real->detached ? vm_area_written_pages
							      : vm_area_async_pages,
			      transfer_scanned, NULL))
		return;
	for (dax_pgoff_t at = first; vma_soft_next_leaf(vma, &at, last, &leaf, &nr);
	     at += nr)
		if (leaf_is_device(leaf))
			transfer_dirty(vma->mapping, at);
}

/* A page that the kernel has copied is a private copy as any other. */
static int keep_copy(struct vma_real *real, dax_pgoff_t pgoff, const void *page)
{
	struct dax_vm_fault vmf = { .vma = real->vma, .pgoff = pgoff };
	char *addr = address_of(real, pgoff);
	int ret = uffd_copy(real->area.uffd, addr, page, DAX_PAGE_SIZE, false);

	return ret ? ret : vma_soft_ops.finish_cow(&vmf, addr);
}

/* saved_lock held.  Up to SAVED_PAGES pages. */
static int drop_private_part(struct vma_real *real, const struct run *run)
{
	uint64_t pages[SAVED_PAGES];
	int64_t found = save_copies(real, run, pages, real->saved, SAVED_PAGES);
	int ret = found < 0 ? (int)found : make_anonymous(real, run->first, run->nr);

	for (int64_t i = 0; !ret && i < found; i++)
		ret = keep_copy(real, run->first + pages[i],
				real->saved + bytes_of((dax_pgoff_t)i));
	return ret;
}

static void drop_private(struct vma_real *real, const struct run *run)
{
	mutex_lock(&real->saved_lock);
	for (dax_pgoff_t done = 0; done < run->nr; done += SAVED_PAGES) {
		struct run part = { .first = run->first + done, .file = true,
				    .nr = run->nr - done };

		if (part.nr > SAVED_PAGES)
			part.nr = SAVED_PAGES;
		if (drop_private_part(real, &part))
			give_up(real);
	}
	mutex_unlock(&real->saved_lock);
}

static void zap_run(struct vma_real *real, const struct run *run, bool even_cows)
{
	struct dax_vma *vma = real->vma;

	if (!run->nr)
		return;
	vma_soft_ops.zap(vma, run->first, run->first + run->nr - 1, even_cows);
	if (run->file && !vma_is_shared(vma) && !even_cows)
		drop_private(real, run);
	else
		drop(real, run->first, run->nr, run->file);
}

/* A 2 MiB leaf goes whole. */
static void widen(struct dax_vma *vma, dax_pgoff_t *first, dax_pgoff_t *last)
{
	if (vma_soft_leaf(vma, *first) & LEAF_HUGE)
		*first = radix_tree_canonical(*first, DAX_PMD_ORDER);
	if (vma_soft_leaf(vma, *last) & LEAF_HUGE)
		*last |= DAX_PMD_NR_PAGES - 1;
}

static void zap_leaves(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t last,
		       bool even_cows)
{
	struct dax_vma *vma = real->vma;
	struct run run = { 0 };
	dax_pgoff_t nr;
	uint64_t leaf;

	transfer_tracked(real, first, last);
	for (dax_pgoff_t at = first; vma_soft_next_leaf(vma, &at, last, &leaf, &nr);
	     at += nr) {
		bool file = leaf_is_device(leaf);

		if (leaf & LEAF_ANON && !even_cows)
			continue;
		if (file && leaf & LEAF_WRITE)
			transfer_dirty(vma->mapping, at);
		if (run.nr && run.file == file && run.first + run.nr == at) {
			run.nr += nr;
			continue;
		}
		zap_run(real, &run, even_cows);
		run = (struct run){ .first = at, .nr = nr, .file = file };
	}
	zap_run(real, &run, even_cows);
}

/* Leaves that had a store go, and all that stands behind the table at once. */
static int drop_all_shared(struct vma_real *real)
{
	struct dax_vma *vma = real->vma;
	dax_pgoff_t first = vma->vm_pgoff, last = first + vma->nr_pages - 1, nr;
	uint64_t leaf;
	int ret;

	transfer_tracked(real, first, last);
	for (dax_pgoff_t at = first; vma_soft_next_leaf(vma, &at, last, &leaf, &nr);
	     at += nr)
		if (leaf_is_device(leaf) && leaf & LEAF_WRITE)
			transfer_dirty(vma->mapping, at);
	vma_soft_ops.zap(vma, first, last, true);
	ret = make_anonymous(real, first, vma->nr_pages);
	if (ret)
		return ret;
	mutex_lock(&real->lock);
	real->nr_poisoned = 0;
	mutex_unlock(&real->lock);
	WRITE_ONCE(real->broken, false);
	return 0;
}

/*
 * There are as many pieces as there may be: all go, and those that are touched
 * come back.  Context: invalidate_lock exclusive.
 */
static void drop_all(struct vma_real *real)
{
	struct dax_vma *vma = real->vma;

	if (!vma_is_shared(vma))
		zap_leaves(real, vma->vm_pgoff, vma->vm_pgoff + vma->nr_pages - 1, false);
	else if (drop_all_shared(real))
		give_up(real);
}

/* A private mapping's strays are copies, a shared one's are the file's: those do not go
 * with leaves. */
static void real_zap(struct dax_vma *vma, dax_pgoff_t first, dax_pgoff_t last,
		     bool even_cows)
{
	struct vma_real *real = vma->real;

	if (even_cows && !vma_is_shared(vma))
		forget_strays(real, first, last);
	widen(vma, &first, &last);
	zap_leaves(real, first, last, even_cows);
	if (percpu_is_writer(&vma->mapping->invalidate_lock) &&
	    unlikely(!vm_area_has_room()))
		drop_all(real);
}

static void real_forget_stores(struct dax_vma *vma, uint64_t pos, uint64_t end)
{
	dax_pgoff_t first = pos / DAX_PAGE_SIZE + (pos % DAX_PAGE_SIZE != 0);
	dax_pgoff_t behind = end / DAX_PAGE_SIZE;

	if (!vma_is_shared(vma) || !READ_ONCE(vma->real->nr_strays))
		return;
	if (first < behind)
		forget_strays(vma->real, first, behind - 1);
	zero_strays(vma->real, pos, end);
}

/* A block map may put pages where there is no device any more. */
static int real_merge_stores(struct dax_vma *vma, dax_pgoff_t first, dax_pgoff_t last,
			     dax_pfn_t pfn)
{
	const struct dax_device *dev = pfn_device(pfn);
	uint64_t left = (dev->size >> DAX_PAGE_SHIFT) - (pfn - dev->pfn_base);
	uint64_t nr = last - first + 1;

	if (!vma_is_shared(vma) || pfn - dev->pfn_base >= dev->size >> DAX_PAGE_SHIFT)
		return 0;
	return merge_strays(vma->real, first, nr < left ? nr : left, pfn);
}

/* No lock held.  0: touch it again; -ENOMEM: that would be in vain. */
static int make_room(struct vma_real *real)
{
	struct dax_mapping *mapping = real->vma->mapping;
	int ret = mapping_lock_exclusive(mapping);

	if (ret)
		return ret;
	drop_all(real);
	mapping_unlock_exclusive(mapping);
	return vm_area_has_room() && !READ_ONCE(real->broken) ? 0 : -ENOMEM;
}

static void real_split_zero_pmd(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	if (!vma_soft_split_zero(vma, pgoff))
		real_zap(vma, pgoff, pgoff, false);
}

static void real_split_huge_pmd(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	uint64_t leaf = vma_soft_leaf(vma, pgoff);

	if (!(leaf & LEAF_HUGE) || leaf & LEAF_WRITE)
		return;
	if (leaf >> DAX_PAGE_SHIFT == DAX_HUGE_ZERO_PFN)
		real_split_zero_pmd(vma, pgoff);
	else
		real_zap(vma, pgoff, pgoff, false);
}

/* ---- what the CPU stored to ---------------------------------------------------------------- */

/* Writable pages may be registered for the first time, others are if they can be
 * stored to at all. */
static int arm_run(struct vma_real *real, const struct run *run, bool writable)
{
	int ret = arm(real, run->first, run->nr);

	if (ret != -ENOENT)
		return ret;
	if (writable)
		return register_and_arm(real, run->first, run->nr);
	for (dax_pgoff_t i = 0; i < run->nr; i++)
		arm(real, run->first + i, 1);
	return 0;
}

/* Pages of entries, in rising order, whose runs are armed as one. */
struct arming {
	struct vma_real *real;
	struct run run;
	bool writable;
	int error;
};

static void arm_pages(struct arming *arming, dax_pgoff_t first, dax_pgoff_t nr,
		      bool writable)
{
	struct run *run = &arming->run;

	if (nr && run->nr && run->first + run->nr == first &&
	    writable == arming->writable) {
		run->nr += nr;
		return;
	}
	if (run->nr && !arming->error)
		arming->error = arm_run(arming->real, run, arming->writable);
	*run = (struct run){ .first = first, .nr = nr, .file = true };
	arming->writable = writable;
}

static void arm_entry(struct arming *arming, const struct radix_tree_iter *iter)
{
	struct dax_vma *vma = arming->real->vma;
	dax_pgoff_t at = iter->index, last = radix_tree_iter_last(iter), nr;
	uint64_t leaf;

	if (!clip_to_vma(vma, &at, &last))
		return;
	for (; at <= last && vma_soft_next_leaf(vma, &at, last, &leaf, &nr); at += nr)
		if (leaf_is_device(leaf))
			arm_pages(arming, at, nr, leaf & LEAF_WRITE);
}

/*
 * First the CPU's stores are fenced off, or found out from now on, then the calls'.
 * What cannot be armed stays writable: collect_dirty() takes it for stored to.
 */
static bool real_mkclean(struct dax_vma *vma, const struct radix_tree_iter *iter,
			 unsigned int nr)
{
	struct arming arming = { .real = vma->real };

	if (!vma->real->area.writable || vma->real->tracking == TRACKING_NONE ||
	    dax_test_mutated(DAX_MUTATE_NO_MKCLEAN))
		return false;
	for (unsigned int i = 0; i < nr; i++)
		arm_entry(&arming, &iter[i]);
	arm_pages(&arming, 0, 0, false);
	return !arming.error && vma_soft_ops.mkclean(vma, iter, nr);
}

/* The entry of a page that the CPU could have stored to. */
static void tag_page(struct dax_mapping *mapping, struct percpu_area *area,
		     dax_pgoff_t pgoff)
{
	struct dax_slot slot;

	dax_slot_init(&slot, mapping, area, pgoff);
	do {
		void *entry = get_unlocked_mapping_entry(&slot);

		if (!entry || !radix_tree_exceptional_entry(entry) ||
		    !dax_is_data_entry(entry)) {
			put_unlocked_mapping_entry(&slot);
			return;
		}
	} while (!lock_slot(&slot));
	if (!radix_tree_tag_get(&slot.iter, DAX_PAGECACHE_TAG_AHEAD))
		dax_tag_dirty(&slot);
	put_locked_mapping_entry(&slot);
}

/* Pages with leaves: those that are writable, or all. */
static void tag_leaves(struct dax_vma *vma, struct percpu_area *area,
		       dax_pgoff_t first, dax_pgoff_t last, bool all)
{
	dax_pgoff_t nr;
	uint64_t leaf;

	for (dax_pgoff_t at = first; vma_soft_next_leaf(vma, &at, last, &leaf, &nr);
	     at += nr)
		if (leaf_is_device(leaf) && (all || leaf & LEAF_WRITE))
			tag_page(vma->mapping, area, at);
}

/*
 * Stores that came too early get their blocks, as by faults of their own.  A file
 * that is being frozen gets none: they wait for the thaw.
 */
static void settle_strays(struct dax_vma *vma, struct percpu_area *area)
{
	struct dax_vm_fault vmf = { .vma = vma, .write = true, .area = area };
	unsigned int nr = READ_ONCE(vma->real->nr_strays);
	bool ok = !mapping_is_frozen(vma->mapping);

	for (; ok && nr && first_stray(vma->real, &vmf.pgoff); nr--) {
		vmf.pte = NULL;
		ok = !(iomap_fault(&vmf, 0) & (DAX_VM_FAULT_ERROR | DAX_VM_FAULT_RETRY));
		if (!ok && !mapping_is_frozen(vma->mapping))
			mapping_set_error(vma->mapping, vmf.error ? vmf.error : -ENOSPC);
	}
}

static void real_collect_dirty(struct dax_vma *vma, struct percpu_area *area,
			       dax_pgoff_t first, dax_pgoff_t last)
{
	struct vma_real *real = vma->real;
	int ret = 0;

	if (!vma_is_shared(vma) || !real->area.writable)
		return;
	if (unlikely(READ_ONCE(real->nr_strays)))
		settle_strays(vma, area);
	if (real->tracking == TRACKING_ASYNC)
		ret = for_each_scanned(vma, first, last, vm_area_written_pages, tag_page,
				       area);
	tag_leaves(vma, area, first, last, ret < 0);
}

/* ---- faults -------------------------------------------------------------------------------- */

/* Past the page that was touched and all that came with it. */
static dax_pgoff_t leaf_end(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	dax_pgoff_t nr = 1;
	uint64_t leaf;

	vma_soft_next_leaf(vma, &pgoff, vma->vm_pgoff + vma->nr_pages - 1, &leaf, &nr);
	return pgoff + nr;
}

/* How many pages of the file and of the mapping follow. */
static uint64_t pages_after(struct dax_vma *vma, dax_pgoff_t next, uint64_t nr)
{
	dax_pgoff_t end = vma->vm_pgoff + vma->nr_pages;
	dax_pgoff_t size = mapping_max_pgoff(vma->mapping);

	end = size < end ? size : end;
	if (next >= end)
		return 0;
	return end - next < nr ? end - next : nr;
}

/* Bring in pages from @next on, for loads; the first that is not. */
static dax_pgoff_t map_ahead(struct vma_real *real, dax_pgoff_t next, uint64_t nr)
{
	dax_pgoff_t end = next + nr;

	while (next < end) {
		uint64_t run = end - next < FAULT_AROUND_MAX ? end - next
							     : FAULT_AROUND_MAX;
		int64_t done = vma_fault_around(real->vma, next, (unsigned int)run,
						false);
		dax_pgoff_t after = leaf_end(real->vma, next);

		if (done <= 0)
			break;
		next += (dax_pgoff_t)done;
		next = next < after ? after : next;
	}
	return next;
}

/* Loads in a row map ahead, further each time. */
static void fault_around(struct vma_real *real, dax_pgoff_t pgoff)
{
	dax_pgoff_t next = leaf_end(real->vma, pgoff);
	uint64_t pages = READ_ONCE(real->streak_pages);

	if (!real->fault_around)
		return;
	if (pgoff != READ_ONCE(real->streak_next))
		pages = 0;
	else if (!pages)
		pages = STREAK_GROWTH;
	else
		pages *= STREAK_GROWTH;
	if (pages > real->fault_around)
		pages = real->fault_around;
	WRITE_ONCE(real->streak_pages, pages);
	pages = pages_after(real->vma, next, pages);
	WRITE_ONCE(real->streak_next, map_ahead(real, next, pages));
}

/* Stores in a row get their blocks many at a time.  > 0: done; 0: it had its
 * leaf; -errno. */
static int64_t fault_store(struct vma_real *real, dax_pgoff_t pgoff)
{
	unsigned int nr = 1;
	int64_t done;

	if (real->fault_around) {
		mutex_lock(&real->lock);
		nr = fault_streak_begin(&real->stores, pgoff);
		mutex_unlock(&real->lock);
	}
	if (nr == 1)
		done = vma_fault_range(real->vma, pgoff, 1, true, NULL, 0, NULL);
	else
		done = vma_fault_around(real->vma, pgoff, nr, true);
	if (done <= 0)
		return done;
	mutex_lock(&real->lock);
	fault_streak_end(&real->stores, pgoff, (uint64_t)(nr == 1 ? 1 : done));
	mutex_unlock(&real->lock);
	return done;
}

/* Is what stands behind a page not what its leaf says? */
static bool is_gone(struct vma_real *real, dax_pgoff_t pgoff, bool write)
{
	int found = vm_area_look(address_of(real, pgoff));

	if (found < 0)
		return true;
	return !(found & VM_AREA_PAGE_THERE) ||
	       (write && found & VM_AREA_PAGE_PROTECTED);
}

static bool cure(struct vma_real *real, dax_pgoff_t pgoff)
{
	bool was;

	mutex_lock(&real->lock);
	was = is_poisoned(real, pgoff);
	mutex_unlock(&real->lock);
	if (was)
		unpoison(real, pgoff, 1);
	return was;
}

/*
 * A page that has its leaf is touched again and again: others were quicker, or
 * somebody took away what stands behind it (madvise(2)).  Then the leaf goes too.
 */
static int again(struct vma_real *real, dax_pgoff_t pgoff, bool write)
{
	static __thread struct {
		const struct vma_real *real;
		dax_pgoff_t pgoff;
		int times;
	} last;

	if (last.real != real || last.pgoff != pgoff)
		last.times = 0;
	last.real = real;
	last.pgoff = pgoff;
	if (++last.times < STUCK)
		return 0;
	last.times = 0;
	if (cure(real, pgoff) || !is_gone(real, pgoff, write))
		return 0;
	return vma_dontneed(real->vma, bytes_of(pgoff - real->vma->vm_pgoff),
			    DAX_PAGE_SIZE);
}

static int real_serve(struct fault_area *area, size_t offset, bool write,
		      bool may_sleep)
{
	struct vma_real *real = container_of(area, struct vma_real, area);
	dax_pgoff_t pgoff = real->vma->vm_pgoff + (offset >> DAX_PAGE_SHIFT);
	int64_t ret;

	if (unlikely(READ_ONCE(real->broken)) && make_room(real))
		return -EIO;
	if (write && !area->writable)	/* it was for a moment: again, SIGSEGV */
		return 0;
	/* Private copies go on. */
	if (write && !may_sleep && vma_is_shared(real->vma) &&
	    mapping_is_frozen(real->vma->mapping))
		return 1;
	if (write)
		ret = fault_store(real, pgoff);
	else
		ret = vma_fault_range(real->vma, pgoff, 1, false, NULL, 0, NULL);
	if (!ret)
		ret = again(real, pgoff, write);
	if (ret == -EINTR)
		return 0;
	if (ret == -ENOMEM && !vm_area_has_room())
		return make_room(real);
	if (ret < 0)
		return (int)ret;
	if (!write)
		fault_around(real, pgoff);
	absorb_strays(real);
	return 0;
}

static void real_fail(struct fault_area *area, size_t offset)
{
	struct vma_real *real = container_of(area, struct vma_real, area);

	poison(real, real->vma->vm_pgoff + (offset >> DAX_PAGE_SHIFT));
}

/* Was it for that, and is it better now?  The reason of the failure stays. */
static int make_room_once(struct vma_real *real)
{
	return vm_area_has_room() ? -ENOMEM : make_room(real);
}

static void real_stray(struct fault_area *area, uintptr_t address)
{
	struct vma_real *real = container_of(area, struct vma_real, area);

	mutex_lock(&real->stage_lock);
	uffd_swap_touched(&real->spare, address);
	mutex_unlock(&real->stage_lock);
}

static void real_forgive(struct fault_area *area, size_t offset)
{
	struct vma_real *real = container_of(area, struct vma_real, area);

	unpoison(real, real->vma->vm_pgoff + (offset >> DAX_PAGE_SHIFT), 1);
}

int64_t vma_real_fault_range(struct dax_vma *vma, dax_pgoff_t pgoff,
			     uint64_t nr_pages, bool write, uint64_t *latencies,
			     size_t nr_latencies, struct dax_fault_info *info)
{
	int64_t ret = vma_fault_range(vma, pgoff, nr_pages, write, latencies,
				      nr_latencies, info);

	if (ret == -ENOMEM && vma->real && !make_room_once(vma->real))
		ret = vma_fault_range(vma, pgoff, nr_pages, write, latencies,
				      nr_latencies, info);
	return vma_real_absorb(vma, ret);
}

int64_t vma_real_fault_many(struct dax_vma *vma, const dax_pgoff_t *pgoffs, size_t nr,
			    bool write, uint64_t *latencies, size_t nr_latencies,
			    struct dax_fault_info *info)
{
	int64_t ret = vma_fault_many(vma, pgoffs, nr, write, latencies, nr_latencies,
				     info);

	if (ret == -ENOMEM && vma->real && !make_room_once(vma->real))
		ret = vma_fault_many(vma, pgoffs, nr, write, latencies, nr_latencies,
				     info);
	return vma_real_absorb(vma, ret);
}

int64_t vma_real_absorb(struct dax_vma *vma, int64_t ret)
{
	int err = ret >= 0 && vma->real ? absorb_strays(vma->real) : 0;

	return err ? err : ret;
}

/* ---- loads and stores by calls --------------------------------------------------------------- */

/* Up to the end of a page.  The fault is a call: it fails as one. */
static int copy_private_page(struct dax_vma *vma, char *buf, size_t n, uint64_t offset,
			     bool write, struct dax_fault_info *info)
{
	char *addr = vma->real->area.start + offset;
	int64_t ret = vma_fault_range(vma, vma->vm_pgoff + (offset >> DAX_PAGE_SHIFT), 1,
				      write, NULL, 0, info);

	if (ret < 0)
		return (int)ret;
	return write ? move_mc(move_bytes, addr, buf, n) : copy_mc(buf, addr, n);
}

/* What a private mapping shows is only at its addresses. */
static ssize_t copy_private(struct dax_vma *vma, char *buf, size_t len,
			    uint64_t offset, bool write, struct dax_fault_info *info)
{
	size_t done = 0;
	int ret = 0;

	if (len == 0)
		return 0;
	if (offset > vma->length || len > vma->length - offset)
		return dax_error(-EFAULT, "%zu bytes at %" PRIu64 " are not all in the "
				 "mapping (%" PRIu64 " bytes)", len, offset, vma->length);
	if (write && !vma->real->area.writable)
		return dax_error(-EACCES, "the mapping is read-only");
	while (!ret && done < len) {
		size_t n = DAX_PAGE_SIZE - (offset + done) % DAX_PAGE_SIZE;

		n = n < len - done ? n : len - done;
		ret = copy_private_page(vma, buf + done, n, offset + done, write, info);
		done += ret ? 0 : n;
	}
	return done ? (ssize_t)done : ret;
}

static ssize_t read_shared(struct dax_vma *vma, void *buf, size_t len,
			   uint64_t offset, struct dax_fault_info *info)
{
	ssize_t ret = vma_read(vma, buf, len, offset, info);

	if (ret == -ENOMEM && !make_room_once(vma->real))
		ret = vma_read(vma, buf, len, offset, info);
	return ret;
}

static ssize_t write_shared(struct dax_vma *vma, const void *buf, size_t len,
			    uint64_t offset, struct dax_fault_info *info)
{
	ssize_t ret = vma_write(vma, buf, len, offset, info);

	if (ret == -ENOMEM && !make_room_once(vma->real))
		ret = vma_write(vma, buf, len, offset, info);
	return ret;
}

ssize_t vma_real_read(struct dax_vma *vma, void *buf, size_t len, uint64_t offset,
		      struct dax_fault_info *info)
{
	ssize_t ret;

	if (!vma->real)
		return vma_read(vma, buf, len, offset, info);
	if (vma_is_shared(vma))
		ret = read_shared(vma, buf, len, offset, info);
	else
		ret = copy_private(vma, buf, len, offset, false, info);
	absorb_strays(vma->real);
	return ret;
}

ssize_t vma_real_write(struct dax_vma *vma, const void *buf, size_t len,
		       uint64_t offset, struct dax_fault_info *info)
{
	ssize_t ret;

	if (!vma->real)
		return vma_write(vma, buf, len, offset, info);
	if (vma_is_shared(vma))
		ret = write_shared(vma, buf, len, offset, info);
	else
		ret = copy_private(vma, (char *)(uintptr_t)buf, len, offset, true, info);
	absorb_strays(vma->real);
	return ret;
}

/* ---- memory ------------------------------------------------------------------------------------ */

/* A table for each 2 MiB and for each GiB of addresses that show something. */
static uint64_t cpu_table_bytes(struct dax_vma *vma)
{
	dax_pgoff_t last = vma->vm_pgoff + vma->nr_pages - 1, nr;
	uint64_t skew = (vma->vm_start >> DAX_PAGE_SHIFT) - vma->vm_pgoff;
	uint64_t pmd = UINT64_MAX, pud = UINT64_MAX, tables = 0, leaf;

	for (dax_pgoff_t at = vma->vm_pgoff;
	     vma_soft_next_leaf(vma, &at, last, &leaf, &nr); at += nr) {
		tables += pmd != (at + skew) >> DAX_PMD_ORDER;
		tables += pud != (at + skew) >> (2 * DAX_PMD_ORDER);
		pmd = (at + skew) >> DAX_PMD_ORDER;
		pud = (at + skew) >> (2 * DAX_PMD_ORDER);
	}
	return tables << DAX_PAGE_SHIFT;
}

/* Of a private piece of the file the kernel has copied what was stored to. */
static int count_copies(struct vma_real *real, dax_pgoff_t first, dax_pgoff_t nr,
			struct dax_memory_info *memory)
{
	uint64_t pages[DAX_PMD_NR_PAGES];

	for (dax_pgoff_t done = 0; done < nr; done += DAX_PMD_NR_PAGES) {
		dax_pgoff_t n = nr - done < DAX_PMD_NR_PAGES ? nr - done
							      : DAX_PMD_NR_PAGES;
		int64_t found = vm_area_copied_pages(address_of(real, first + done),
						     bytes_of(n), pages,
						     DAX_PMD_NR_PAGES);

		if (found < 0)
			return dax_error((int)found, "the process's page map cannot be "
					 "read");
		memory->copy_bytes += bytes_of((dax_pgoff_t)found);
		memory->data_bytes -= bytes_of((dax_pgoff_t)found);
	}
	return 0;
}

static int count_private(struct dax_vma *vma, struct dax_memory_info *memory)
{
	dax_pgoff_t last = vma->vm_pgoff + vma->nr_pages - 1;
	dax_pgoff_t first = 0, end = 0, nr;
	uint64_t leaf;
	int ret = 0;

	for (dax_pgoff_t at = vma->vm_pgoff;
	     !ret && vma_soft_next_leaf(vma, &at, last, &leaf, &nr); at += nr) {
		if (!leaf_is_device(leaf))
			continue;
		if (at != end) {
			ret = count_copies(vma->real, first, end - first, memory);
			first = at;
		}
		end = at + nr;
	}
	return ret ? ret : count_copies(vma->real, first, end - first, memory);
}

int vma_real_memory(struct dax_vma *vma, struct dax_memory_info *ret_memory)
{
	struct dax_memory_info memory;
	struct percpu_area *area;
	int ret = mapping_lock_shared(vma->mapping, &area);

	if (ret)
		return ret;
	vma_soft_memory(vma, &memory);
	if (vma->real)
		memory.page_table_bytes = cpu_table_bytes(vma);
	if (vma->real && !vma_is_shared(vma))
		ret = count_private(vma, &memory);
	mapping_unlock_shared(vma->mapping, area);
	if (!ret)
		*ret_memory = memory;
	return ret;
}

/* ---- life --------------------------------------------------------------------------------------- */

/* Whoever sleeps in a touch is woken, and dies of it. */
static void real_detach(struct dax_vma *vma)
{
	struct vma_real *real = vma->real;

	fault_area_detach(&real->area);
	if (!vm_area_protect(real->area.start, real->area.length, false, false))
		WRITE_ONCE(real->detached, true);
	uffd_wake(real->area.uffd, real->area.start, real->area.length);
}

static void free_real(struct vma_real *real)
{
	if (real->area.start)
		vm_area_release(real->area.start, real->area.length);
	if (real->stage)
		vm_area_release(real->stage, STAGE_PAGES * DAX_PMD_SIZE);
	if (real->spare.start) {
		uffd_swap_end();
		vm_area_release(real->spare.start, real->spare.length);
	}
	if (real->stores_fd >= 0 && real->stores_fd != real->area.uffd)
		sys_close(real->stores_fd);
	if (real->area.uffd >= 0)
		sys_close(real->area.uffd);
	dax_free(real->saved);
	dax_free(real);
}

static void real_free(struct dax_vma *vma)
{
	struct vma_real *real = vma->real;

	if (vma_is_shared(vma) && READ_ONCE(real->nr_strays))
		mapping_set_error(vma->mapping, READ_ONCE(real->stray_error) ?
						       READ_ONCE(real->stray_error) : -EIO);
	forget_strays(real, vma->vm_pgoff, vma->vm_pgoff + vma->nr_pages - 1);
	vma_soft_ops.free(vma);
	free_real(real);
}

static int real_pte_alloc(struct dax_vm_fault *vmf)
{
	return vma_soft_ops.pte_alloc(vmf);
}

static int real_pmd_alloc(struct dax_vm_fault *vmf)
{
	return vma_soft_ops.pmd_alloc(vmf);
}

static enum vma_pmd_state real_pmd_state(struct dax_vma *vma, dax_pgoff_t pgoff)
{
	return vma_soft_ops.pmd_state(vma, pgoff);
}

static const struct dax_vm_ops vma_real_ops = {
	.insert_mixed = real_insert_mixed,
	.insert_run = real_insert_run,
	.insert_pfn_pmd = real_insert_pfn_pmd,
	.finish_cow = real_finish_cow,
	.pte_alloc = real_pte_alloc,
	.pmd_alloc = real_pmd_alloc,
	.pmd_state = real_pmd_state,
	.zap = real_zap,
	.split_huge_pmd = real_split_huge_pmd,
	.split_zero_pmd = real_split_zero_pmd,
	.mkclean = real_mkclean,
	.collect_dirty = real_collect_dirty,
	.forget_stores = real_forget_stores,
	.merge_stores = real_merge_stores,
	.detach = real_detach,
	.free = real_free,
};

static int check_real(struct dax_mapping *mapping, const struct dax_vma_attr *attr)
{
	const struct dax_device *dev = mapping->dax_dev;

	if (attr->address)
		return dax_error(-EINVAL, "address %" PRIu64 ": a real mapping has the one "
				 "the kernel gives it", attr->address);
	if (attr->delivery > DAX_DELIVERY_SIGNAL)
		return dax_error(-EINVAL, "delivery %u is unknown", attr->delivery);
	if (attr->flags & DAX_VM_SYNC)
		return dax_error(-EOPNOTSUPP, "a mapping with sync cannot be real: the CPU "
				 "stores to a block as soon as it is mapped, saved or not");
	if (!(attr->flags & DAX_VM_SHARED) && attr->flags & DAX_VM_WRITE &&
	    !vm_area_can_look())
		return dax_error(-EACCES, "a private real mapping needs /proc/self/pagemap, "
				 "which this process may not read (mount /proc, or set "
				 "PR_SET_DUMPABLE after setuid(2))");
	if (dev->alignment > DAX_PAGE_SIZE && attr->pages != DAX_PAGES_PMD)
		return dax_error(-EOPNOTSUPP, "%s: the device is mapped by %" PRIu64
				 " bytes, a real mapping of it needs pages of 2 MiB",
				 dev->path, dev->alignment);
	return copy_mc_arm();
}

/* Anonymous memory, registered; zeroes all over it if @zeroes. */
static int real_prepare(struct vma_real *real, bool zeroes)
{
	struct fault_area *area = &real->area;
	int ret = vm_area_replace(area->start, area->length);

	if (!ret)
		ret = vm_area_protect(area->start, area->length, true, area->writable);
	if (!ret && zeroes &&
	    !vm_area_populate_huge_zero(area->start, area->length))
		real->prefaulting = true;
	if (!ret)
		ret = uffd_register(area->uffd, area->start, area->length);
	if (!ret && real->prefaulting && area->writable)
		ret = uffd_writeprotect(area->uffd, area->start, area->length, true);
	return ret ? map_error(ret, 0) : 0;
}

/* Before it is known to anybody: entries and leaves of the holes of 2 MiB. */
static void prefault_hole(struct dax_vma *vma, const struct dax_extent *row)
{
	dax_pgoff_t first = (dax_pgoff_t)row->offset >> DAX_PAGE_SHIFT;
	dax_pgoff_t end = (dax_pgoff_t)(row->offset + (dax_loff_t)row->length) >>
			  DAX_PAGE_SHIFT;
	dax_pgoff_t vma_end = vma->vm_pgoff + vma->nr_pages;

	first = first < vma->vm_pgoff ? vma->vm_pgoff : first;
	first = (first + DAX_PMD_NR_PAGES - 1) & ~(dax_pgoff_t)(DAX_PMD_NR_PAGES - 1);
	end = radix_tree_canonical(end < vma_end ? end : vma_end, DAX_PMD_ORDER);
	if (first < end)
		vma_fault_range(vma, first, end - first, false, NULL, 0, NULL);
}

static void prefault_holes(struct dax_vma *vma)
{
	dax_loff_t pos = (dax_loff_t)(vma->vm_pgoff << DAX_PAGE_SHIFT);
	dax_loff_t end = pos + (dax_loff_t)vma->length;
	struct dax_extent row[EXTENT_ROWS];
	int64_t nr;

	while (pos < end &&
	       (nr = mapping_extents(vma->mapping, &pos, row, EXTENT_ROWS)) > 0)
		for (int64_t i = 0; i < nr; i++)
			if (row[i].type == DAX_IOMAP_HOLE ||
			    row[i].type == DAX_IOMAP_UNWRITTEN)
				prefault_hole(vma, &row[i]);
}

/* Zeroes without a leaf go. */
static void discard_others(struct vma_real *real)
{
	struct dax_vma *vma = real->vma;
	dax_pgoff_t last = vma->vm_pgoff + vma->nr_pages - 1;
	dax_pgoff_t gap = vma->vm_pgoff, at = gap, nr;
	uint64_t leaf;

	for (; vma_soft_next_leaf(vma, &at, last, &leaf, &nr); gap = at)  {
		if (at > gap)
			vm_area_discard(address_of(real, gap), bytes_of(at - gap));
		at += nr;
	}
	if (gap <= last)
		vm_area_discard(address_of(real, gap), bytes_of(last - gap + 1));
}

/* Is it memory of a kind that the descriptor takes?  Tried on a page of it. */
static bool can_track(struct vma_real *real, const struct dax_device *dev, int fd)
{
	char *page = real->area.start;
	int ret = vm_area_map_file(page, DAX_PAGE_SIZE, dev->fd, 0, true, true);

	if (!ret)
		ret = uffd_register_stores(fd, page, DAX_PAGE_SIZE);
	if (!ret)
		ret = uffd_writeprotect(fd, page, DAX_PAGE_SIZE, true);
	return !ret;
}

/* The strongest way that this kernel has for the memory.  A device that is mapped by
 * 2 MiB alone takes no protection of less.  Before the area is made anonymous. */
static void choose_tracking(struct vma_real *real, const struct dax_device *dev,
			    const struct dax_vma_attr *attr)
{
	int fd;

	if (!(attr->flags & DAX_VM_SHARED) || !real->area.writable ||
	    dev->alignment > DAX_PAGE_SIZE)
		return;
	fd = vm_area_can_scan() ? uffd_open_async() : -EOPNOTSUPP;
	if (fd >= 0 && can_track(real, dev, fd)) {
		real->tracking = TRACKING_ASYNC;
		real->stores_fd = fd;
		return;
	}
	if (fd >= 0)
		sys_close(fd);
	if (real->features & UFFD_CAN_PROTECT_SHMEM &&
	    can_track(real, dev, real->area.uffd)) {
		real->tracking = TRACKING_PROTECT;
		real->stores_fd = real->area.uffd;
	}
}

static int real_link(struct dax_vma **ret_vma, struct dax_mapping *mapping,
		     const struct dax_vma_attr *attr, struct vma_real *real)
{
	struct dax_vma_attr soft = *attr;
	int ret;

	soft.address = (uintptr_t)real->area.start;
	ret = vma_soft_link(&real->vma, mapping, &soft, &vma_real_ops, real);
	if (ret) {
		free_real(real);
		return ret;
	}
	if (real->prefaulting) {
		prefault_holes(real->vma);
		discard_others(real);
		real->prefaulting = false;
	}
	ret = fault_area_attach(&real->area);
	if (ret)
		vma_put(real->vma);
	else
		*ret_vma = real->vma;
	return ret;
}

static uint64_t around_pages(const struct dax_vma_attr *attr)
{
	uint64_t bytes = attr->fault_around;

	if (bytes == DAX_FAULT_AROUND_DEFAULT)
		bytes = fault_around_default;
	return bytes >> DAX_PAGE_SHIFT;
}

static int real_alloc(struct vma_real **ret_real, const struct dax_vma_attr *attr)
{
	struct vma_real *real = dax_zalloc_apart(sizeof(*real));
	void *start = NULL;
	int ret;

	if (!real)
		return dax_error(-ENOMEM, "no memory for a real mapping");
	real->stores_fd = -1;
	real->fault_around = around_pages(attr);
	real->area = (struct fault_area){
		.uffd = -1, .serve = real_serve, .fail = real_fail,
		.stray = real_stray,
		.forgive = real_forgive,
		.length = (attr->length + DAX_PAGE_SIZE - 1) & ~(DAX_PAGE_SIZE - 1),
		.signal = attr->delivery == DAX_DELIVERY_SIGNAL,
		.writable = attr->flags & DAX_VM_WRITE,
	};
	ret = vm_area_reserve(&start, real->area.length,
			      (uint64_t)attr->offset % DAX_PMD_SIZE);
	if (ret)
		ret = dax_error(-ENOMEM, "no address space for %" PRIu64 " bytes "
				"(RLIMIT_AS, or vm.overcommit_memory)", attr->length);
	real->area.start = start;
	if (!ret)
		real->area.uffd = uffd_open(real->area.signal, &real->features);
	if (real->area.uffd < 0 && !ret)
		ret = real->area.uffd;
	if (!ret && !(attr->flags & DAX_VM_SHARED)) {
		real->saved = dax_zalloc(bytes_of(SAVED_PAGES));
		if (!real->saved)
			ret = dax_error(-ENOMEM, "no memory for a real mapping");
	}
	if (ret)
		free_real(real);
	else
		*ret_real = real;
	return ret;
}

int vma_real_new(struct dax_vma **ret_vma, struct dax_mapping *mapping,
		 const struct dax_vma_attr *attr)
{
	struct vma_real *real = NULL;
	bool zeroes;
	int ret = vma_check(mapping, attr);

	if (!ret)
		ret = check_real(mapping, attr);
	if (!ret)
		ret = real_alloc(&real, attr);
	if (ret)
		return ret;
	zeroes = real->fault_around && attr->pages != DAX_PAGES_PTE &&
		 attr->length <= prefault_max;
	choose_tracking(real, mapping->dax_dev, attr);
	ret = real_prepare(real, zeroes);
	if (!ret)
		ret = real_link(ret_vma, mapping, attr, real);
	else
		free_real(real);
	return ret;
}

const char *vma_real_dirty_tracking(const struct dax_vma *vma)
{
	static const char *const name[] = {
		[TRACKING_NONE] = "conservative",
		[TRACKING_PROTECT] = "write-protect",
		[TRACKING_ASYNC] = "wp-async",
	};

	if (!vma->real || !vma->real->area.writable || !vma_is_shared(vma))
		return NULL;
	return name[vma->real->tracking];
}

void *vma_real_address(const struct dax_vma *vma)
{
	return vma->real ? vma->real->area.start : NULL;
}

bool vma_real_overlaps(const void *addr, size_t len)
{
	return fault_area_overlaps(addr, len);
}
