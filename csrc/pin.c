/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pin.c -- look at a file's bytes where they are
 *
 * A pin to read is given by the block map's answer, seen again after the frames
 * are pinned.  A pin to write is what a store is: the entry is locked, the page
 * has a block of the file's own, the entry is DIRTY; then its frame is pinned.
 *
 * Owns: nothing; a pin holds its file and counts on its frames.
 * Locks: invalidate_lock shared, one entry lock at a time.
 * Kernel: mm/gup.c, pin_user_pages_fast(), unpin_user_pages_dirty_lock().
 * Differs: no page table is walked; the stores of a pin to write are not seen,
 *          so its pages are DIRTY from the start and again at the end.
 */
#include "pin.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "errormsg.h"
#include "fault.h"
#include "frames.h"
#include "freeze.h"
#include "iomap.h"
#include "zero_page.h"

static size_t within_page(dax_loff_t pos)
{
	return (size_t)pos % DAX_PAGE_SIZE;
}

static uint64_t pages_of(dax_loff_t pos, size_t len)
{
	return (within_page(pos) + len + DAX_PAGE_SIZE - 1) >> DAX_PAGE_SHIFT;
}

/* ---- to read ------------------------------------------------------------------- */

/* A hole: the common zero page, which goes nowhere and need not be pinned. */
static void pin_hole(struct dax_pin *pin, size_t n)
{
	size_t within = within_page(pin->pos);
	size_t room = DAX_PAGE_SIZE - within;

	pin->pfn = DAX_ZERO_PFN;
	if (n > room && huge_zero_page_present()) {
		pin->pfn = DAX_HUGE_ZERO_PFN;
		room = DAX_PMD_SIZE - within;
	}
	pin->kaddr = (char *)pfn_to_kaddr(pin->pfn) + within;
	pin->len = n < room ? n : room;
}

/* Frames and address of a MAPPED extent from pin->pos on. */
static int translate(struct dax_pin *pin, const struct dax_iomap *iomap, size_t n)
{
	dax_pfn_t pfn = iomap_pfn(iomap, pin->pos);
	uint64_t nr = pages_of(pin->pos, n);
	void *kaddr;
	int64_t got;

	if (!pfn)
		return dax_error(-EINVAL, "the block map put byte %" PRId64
				 " elsewhere in a page", pin->pos);
	got = direct_access(iomap->dax_dev, pfn - iomap->dax_dev->pfn_base, nr, &kaddr,
			    &pfn);
	if (got < 0)
		return (int)got;
	pin->pfn = pfn;
	pin->kaddr = (char *)kaddr + within_page(pin->pos);
	pin->len = (uint64_t)got == nr ? n
			: ((size_t)got << DAX_PAGE_SHIFT) - within_page(pin->pos);
	return 0;
}

/* Frames found: pin them, then ask again.  IOMAP_MOVED: the file has left them. */
static int pin_found(struct dax_pin *pin, const struct dax_iomap *iomap)
{
	uint64_t nr = pages_of(pin->pos, pin->len);
	int ret;

	dax_test_yield(DAX_TEST_FRAME_SEEN);
	pfn_pin(pin->pfn, nr);
	dax_test_yield(DAX_TEST_FRAME_PINNED);
	ret = iomap_ask_again(pin->mapping, iomap, pin->pos, pin->len);
	if (ret)
		pfn_unpin(pin->pfn, nr);
	return ret;
}

static int pin_to_read(struct dax_pin *pin, size_t len)
{
	struct dax_iomap iomap;
	size_t n;
	int ret = iomap_begin(pin->mapping, pin->pos, len, 0, &iomap);

	if (ret)
		return ret;
	n = iomap_left(&iomap, pin->pos, len);
	if (!iomap_type_known(&iomap))
		ret = iomap_bad_answer(&iomap, pin->pos);
	else if (iomap.type == DAX_IOMAP_MAPPED)
		ret = translate(pin, &iomap, n);
	else
		pin_hole(pin, n);
	iomap_end(pin->mapping, pin->pos, len, 0, 0, &iomap);
	if (ret || !pfn_is_device(pin->pfn))
		return ret;
	return pin_found(pin, &iomap);
}

/* ---- to write ------------------------------------------------------------------ */

/* The frame of a whole page that can be stored to. */
static int store_frame(const struct dax_iomap *iomap, dax_loff_t pos)
{
	uint64_t addr = iomap_addr(iomap, pos);
	int64_t nr;

	if (!iomap_pfn(iomap, pos))
		return dax_error(-EINVAL, "the block map put byte %" PRId64
				 " elsewhere in a page", pos);
	nr = direct_access(iomap->dax_dev, addr >> DAX_PAGE_SHIFT, 1, NULL, NULL);
	return nr < 0 ? (int)nr : device_prepare_store(iomap->dax_dev, addr, DAX_PAGE_SIZE);
}

/* The block behind the locked entry's page: put it there, DIRTY. */
static int dirty_entry(struct dax_slot *slot, const struct dax_iomap *iomap,
		       dax_loff_t pos)
{
	struct dax_vm_fault vmf = { .write = true, .pgoff = slot->index,
				    .area = slot->area };
	int ret;

	if (!iomap_type_known(iomap) || iomap->type != DAX_IOMAP_MAPPED ||
	    iomap_left(iomap, pos, DAX_PAGE_SIZE) < DAX_PAGE_SIZE)
		return iomap_bad_answer(iomap, pos);
	ret = settle_mapping_entry(slot, iomap_pfn(iomap, pos), 0, true);
	if (!ret)
		ret = store_frame(iomap, pos);
	if (!ret)
		insert_mapping_entry(&vmf, slot, iomap_pfn(iomap, pos), 0);
	return ret;
}

/* As a store to a page does.  *ret_iomap: its block; it is pinned if @pin. */
static int dirty_page(struct dax_mapping *mapping, struct percpu_area *area,
		      dax_pgoff_t page, bool pin, struct dax_iomap *ret_iomap)
{
	const unsigned int flags = DAX_IOMAP_WRITE | DAX_IOMAP_FAULT;
	dax_loff_t pos = (dax_loff_t)(page << DAX_PAGE_SHIFT);
	struct dax_slot slot;
	int ret;

	dax_slot_init(&slot, mapping, area, page);
	ret = grab_mapping_entry(&slot, 0);
	if (ret)
		return ret;
	dax_test_yield(DAX_TEST_AFTER_GRAB);
	smp_mb__after_atomic();	/* pairs with invalidate_stale() in rw.c */
	ret = iomap_begin(mapping, pos, DAX_PAGE_SIZE, flags, ret_iomap);
	if (!ret) {
		ret = dirty_entry(&slot, ret_iomap, pos);
		if (!ret && pin)
			pfn_pin(iomap_pfn(ret_iomap, pos), 1);
		iomap_end(mapping, pos, DAX_PAGE_SIZE, ret ? 0 : DAX_PAGE_SIZE, flags,
			  ret_iomap);
	}
	put_locked_mapping_entry(&slot);
	return ret;
}

/* Not an errno: the block does not follow the ones before. */
enum { ELSEWHERE = 1 };

/* The next page of a pin, or ELSEWHERE. */
static int pin_next(struct dax_pin *pin, struct percpu_area *area, uint64_t i)
{
	dax_pgoff_t page = ((dax_pgoff_t)pin->pos >> DAX_PAGE_SHIFT) + i;
	struct dax_iomap iomap;
	dax_pfn_t pfn;
	int ret = dirty_page(pin->mapping, area, page, true, &iomap);

	if (ret)
		return ret;
	pfn = iomap_pfn(&iomap, (dax_loff_t)(page << DAX_PAGE_SHIFT));
	if (!i)
		pin->pfn = pfn;
	if (pfn == pin->pfn + i)
		return 0;
	pfn_unpin(pfn, 1);
	return ELSEWHERE;
}

/* What there is together; an error only if it is of the first page. */
static int pin_to_write(struct dax_pin *pin, struct percpu_area *area, size_t len)
{
	uint64_t nr = pages_of(pin->pos, len), i = 0;
	int ret = 0;

	while (!ret && i < nr) {
		ret = pin_next(pin, area, i);
		i += !ret;
	}
	if (!i)
		return ret;
	pin->kaddr = (char *)pfn_to_kaddr(pin->pfn) + within_page(pin->pos);
	pin->len = i == nr ? len : (i << DAX_PAGE_SHIFT) - within_page(pin->pos);
	return 0;
}

/* ---- both ---------------------------------------------------------------------- */

static int pin_locked(struct dax_pin *pin, struct percpu_area *area, size_t len)
{
	dax_loff_t size = i_size_read(pin->mapping);
	int ret;

	if (pin->pos >= size)
		return 0;
	if (len > (uint64_t)(size - pin->pos))
		len = (size_t)(size - pin->pos);
	if (pin->write)
		return pin_to_write(pin, area, len);
	do {
		ret = pin_to_read(pin, len);
	} while (ret == IOMAP_MOVED);
	return ret;
}

/* invalidate_lock shared, and for a pin to write the file is not frozen. */
static int lock_to_pin(const struct dax_pin *pin, struct percpu_area **ret_area)
{
	int ret = mapping_lock_shared(pin->mapping, ret_area);

	while (unlikely(!ret && pin->write && mapping_is_frozen(pin->mapping))) {
		mapping_unlock_shared(pin->mapping, *ret_area);
		ret = freeze_wait(pin->mapping);
		if (!ret)
			ret = mapping_lock_shared(pin->mapping, ret_area);
	}
	return ret;
}

static int pin_under_lock(struct dax_pin *pin, size_t len)
{
	struct percpu_area *area;
	int ret = lock_to_pin(pin, &area);

	if (ret)
		return ret;
	ret = device_verify(pin->mapping->dax_dev);
	if (!ret)
		ret = pin_locked(pin, area, len);
	mapping_unlock_shared(pin->mapping, area);
	return ret;
}

ssize_t pin_pages(struct dax_mapping *mapping, dax_loff_t pos, size_t len,
		  bool write, struct dax_pin *ret_pin)
{
	struct dax_pin pin = { .mapping = mapping, .pos = pos, .write = write };
	int ret = 0;

	if (pos < 0)
		return dax_error(-EINVAL, "offset %" PRId64 " is negative", pos);
	if (mapping->dax_dev->kind == DEVICE_SPARSE)
		return dax_error(-EOPNOTSUPP, "%s: pages of a sparse file cannot be "
				 "pinned: another program may cut it off", mapping->dax_dev->path);
	if (len > SSIZE_MAX)
		len = SSIZE_MAX;
	/* Before it can be pinned: from now on pinned frames are looked for. */
	frames_count_buffer(1);
	if (len)
		ret = pin_under_lock(&pin, len);
	if (ret || !pfn_is_device(pin.pfn))
		frames_count_buffer(-1);
	if (ret)
		return ret;
	if (pin.len)
		mapping_get(mapping);
	*ret_pin = pin;
	return (ssize_t)pin.len;
}

/* Stores to a pin went by: the tag may have fallen since it was made.  Also in a
 * file that was frozen meanwhile: nothing is stored now. */
static int dirty_again(const struct dax_pin *pin)
{
	uint64_t nr = pages_of(pin->pos, pin->len);
	struct percpu_area *area;
	int ret = mapping_lock_shared(pin->mapping, &area);

	if (ret)
		return ret;
	for (uint64_t i = 0; !ret && i < nr; i++) {
		struct dax_iomap iomap;

		ret = dirty_page(pin->mapping, area,
				 ((dax_pgoff_t)pin->pos >> DAX_PAGE_SHIFT) + i, false,
				 &iomap);
	}
	mapping_unlock_shared(pin->mapping, area);
	return ret;
}

int unpin_pages(struct dax_pin *pin, bool dirty)
{
	int ret;

	if (!pin->len)
		return 0;
	ret = mapping_check_alive(pin->mapping);
	if (!ret && dirty && pin->write)
		ret = dirty_again(pin);
	if (ret && ret != -ENXIO)	/* a dead device has nothing to write back */
		return ret;
	if (pfn_is_device(pin->pfn)) {
		pfn_unpin(pin->pfn, pages_of(pin->pos, pin->len));
		frames_count_buffer(-1);
	}
	pin->len = 0;
	mapping_put(pin->mapping);
	return 0;
}
