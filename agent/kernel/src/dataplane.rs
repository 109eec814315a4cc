//! Opening the dataplane: whatever an earlier agent left, of this schema or another, whole or cut off half-way.
//!
//! Maps are built in `v<SCHEMA>-new` and the folder is renamed once it is complete, so that `v<SCHEMA>` always is:
//!
//! | folders found | what happened | what is done |
//! | --- | --- | --- |
//! | `vN-new` | an agent died while it built | remove it |
//! | `vN-old`, no `vN` | an agent died between its two renames | do the second |
//! | `vN` and `vN-old`, or `vN` and `vM` | an agent died before all links ran the new programs | finish as below |
//!
//! What is replaced is removed by [`Migration::finish`] alone, which the agent calls when every link runs the new
//! programs and before it writes anything: until then the old programs serve from the old maps.

use std::fs;
use std::path::{Path, PathBuf};

use penstock_abi::maps;

use crate::bpffs::{Pins, remove_folder};
use crate::maps::{LIVE, Specs, Tables, WRITTEN_BY_AGENT, all, form_difference, same_size};
use crate::sys::{Map, MapSpec, kinds};
use crate::{Error, Programs, TableSizes, carry, load, object};

/// What to open.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where things are pinned.
    pub pins: Pins,
    /// How large the tables are to be.
    pub sizes: TableSizes,
}

/// The loaded programs and their tables.
#[derive(Debug)]
pub struct Dataplane {
    /// The tables that the programs use.
    pub tables: Tables,
    /// The programs, not attached by opening them.
    pub programs: Programs,
    /// Whether the tables hold what an earlier agent wrote. If so, attach first, then converge: nothing is missing
    /// meanwhile. If not, fill the tables first, then attach.
    pub restored: bool,
    /// What is left to do where the tables took the place of others; nothing where they did not.
    pub migration: Migration,
}

/// Maps that were replaced by others of another size or schema, which programs still attached may use.
#[derive(Debug)]
pub struct Migration {
    replaced: Vec<PathBuf>,
    current: PathBuf,
}

impl Dataplane {
    /// Opens the dataplane of the programs that this build carries.
    ///
    /// Attaches nothing. Where the tables found have another size or schema, theirs are built beside them and filled
    /// from them; then call [`Migration::finish`] once all links are updated.
    ///
    /// # Errors
    /// [`Error::SchemaMismatch`] where a pinned map of this schema has another form; [`Error::TooSmall`] where the sizes
    /// asked for cannot hold what is in use. In both cases what was there still serves.
    pub fn open(settings: &Settings) -> Result<Self, Error> {
        Self::open_object(object::bytes()?, settings)
    }

    /// As [`Self::open`], of another object: for tests and tools.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_object(object: &[u8], settings: &Settings) -> Result<Self, Error> {
        let pins = &settings.pins;
        pins.prepare()?;
        let specs = Specs::read(object, &settings.sizes)?;
        recover(pins)?;
        let folder = pins.maps();
        let (programs, restored) = match examine(&folder, &specs)? {
            State::Fits => (load::load(object, &specs, &folder)?, was_filled(pins, &specs)?),
            State::Missing => match newest_other(pins)? {
                Some(other) => build(object, &specs, pins, Some(&other))?,
                None => build(object, &specs, pins, None)?,
            },
            State::OtherSize => {
                // What an earlier change of size left must go first: its folder's name is needed.
                let old = pins.maps_old(pins.schema());
                if old.exists() {
                    carry_live(&old, &folder)?;
                    remove_folder(&old)?;
                }
                build(object, &specs, pins, Some(&folder))?
            }
        };
        let tables = Tables::open(pins)?;
        let migration = Migration { replaced: replaced(pins)?, current: folder };
        Ok(Self { tables, programs, restored, migration })
    }
}

impl Migration {
    /// Whether maps were replaced, so that [`Self::finish`] has something to do.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.replaced.is_empty()
    }

    /// Carries over the connections that came while links still ran the old programs, and removes the old maps. Gives the
    /// number of entries carried.
    ///
    /// # Errors
    /// [`Error::System`]; calling again goes on.
    pub fn finish(&mut self) -> Result<u64, Error> {
        let mut carried = 0;
        while let Some(folder) = self.replaced.last() {
            carried += carry_live(folder, &self.current)?;
            remove_folder(folder)?;
            self.replaced.pop();
        }
        Ok(carried)
    }
}

/// Brings the folders into a state that an agent in good health leaves, those of other schemas as well.
fn recover(pins: &Pins) -> Result<(), Error> {
    for schema in pins.schemas_with("-old")? {
        let (current, new, old) = (pins.maps_of(schema), pins.maps_new(schema), pins.maps_old(schema));
        if !current.exists() {
            // The new folder was complete before the old one was renamed. If somebody removed it, the old one serves.
            rename(if new.exists() { &new } else { &old }, &current)?;
        }
    }
    for schema in pins.schemas_with("-new")? {
        remove_folder(&pins.maps_new(schema))?;
    }
    Ok(())
}

enum State {
    Missing,
    OtherSize,
    Fits,
}

/// Compares the pinned maps of a folder with what is wanted.
fn examine(folder: &Path, specs: &Specs) -> Result<State, Error> {
    if !folder.exists() {
        return Ok(State::Missing);
    }
    let mut state = State::Fits;
    for (name, spec) in specs.iter() {
        match open_pinned(folder, name)? {
            // Somebody removed a pin: the map is built anew, with the others beside it.
            None => state = State::OtherSize,
            Some(map) => {
                if let Some(difference) = form_difference(spec, map.info()) {
                    return Err(difference.error(name));
                }
                if !same_size(spec, map.info()) {
                    state = State::OtherSize;
                }
            }
        }
    }
    Ok(state)
}

/// Whether the maps in use hold what those hold that they replaced. If not, an agent may have died before it filled them.
fn was_filled(pins: &Pins, specs: &Specs) -> Result<bool, Error> {
    for folder in replaced(pins)? {
        if !agent_state_fits(specs, &folder)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Builds all maps beside those of `source`, fills them from there, loads the programs over them, and renames.
fn build(
    object: &[u8],
    specs: &Specs,
    pins: &Pins,
    source: Option<&Path>,
) -> Result<(Programs, bool), Error> {
    let new = pins.maps_new(pins.schema());
    fs::create_dir(&new).map_err(Error::system("mkdir", new.display()))?;
    let built = fill(object, specs, pins, source, &new);
    if built.is_err() {
        remove_folder(&new)?;
    }
    let built = built?;
    let current = pins.maps();
    if current.exists() {
        rename(&current, &pins.maps_old(pins.schema()))?;
    }
    rename(&new, &current)?;
    Ok(built)
}

fn fill(
    object: &[u8],
    specs: &Specs,
    pins: &Pins,
    source: Option<&Path>,
    new: &Path,
) -> Result<(Programs, bool), Error> {
    let carried = match source {
        Some(source) => carried(specs, source)?,
        None => Vec::new(),
    };
    let same_schema = source.is_some_and(|source| source == pins.maps());
    let mut copies = Vec::new();
    for (name, spec, from) in carried {
        // Storage that hangs on sockets cannot be listed, so it is shared, not copied. Within one schema so is every map
        // that keeps its size: connections then see no change at all.
        if spec.kind == kinds::SK_STORAGE || same_schema && same_size(spec, from.info()) {
            from.pin(&new.join(name)).map_err(Error::system("pin", name))?;
        } else {
            copies.push((name, from));
        }
    }
    let programs = load::load(object, specs, new)?;
    for (name, spec) in specs.iter().filter(|(name, _)| *name == maps::SERVICE_NAMES) {
        if !new.join(name).exists() {
            let map = Map::create(spec, None).map_err(Error::system("create map", name))?;
            map.pin(&new.join(name)).map_err(Error::system("pin", name))?;
        }
    }
    for (name, from) in &copies {
        if let Some(to) = open_pinned(new, name)? {
            carry::copy_all(name, from, &to)?;
        }
    }
    let restored = match source {
        Some(source) => agent_state_fits(specs, source)?,
        None => false,
    };
    Ok((programs, restored))
}

/// The maps of a folder whose elements the new ones can take over. Where any of those that the agent writes has another
/// form, none of them can, nor the flows that name their indices: the tables start empty.
fn carried<'a>(specs: &'a Specs, source: &Path) -> Result<Vec<(&'static str, &'a MapSpec, Map)>, Error> {
    let whole = agent_state_fits(specs, source)?;
    let mut maps = Vec::new();
    for (name, spec) in specs.iter() {
        let named = WRITTEN_BY_AGENT.contains(&name) || LIVE.contains(&name) || name == maps::SERVICE_COUNTS;
        if named && !whole {
            continue;
        }
        if let Some(map) = open_pinned(source, name)?.filter(|map| carry::same_form(spec, map)) {
            maps.push((name, spec, map));
        }
    }
    Ok(maps)
}

fn agent_state_fits(specs: &Specs, source: &Path) -> Result<bool, Error> {
    for (name, spec) in specs.iter().filter(|(name, _)| WRITTEN_BY_AGENT.contains(name)) {
        if !open_pinned(source, name)?.is_some_and(|map| carry::same_form(spec, &map)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts the connections that only the maps of `from` know into those of `to`.
fn carry_live(from: &Path, to: &Path) -> Result<u64, Error> {
    // Their indices mean something only in tables that were carried over as well.
    for name in WRITTEN_BY_AGENT {
        if !matches!(open_pair(from, to, name)?, Some((source, target)) if form(&source) == form(&target)) {
            return Ok(0);
        }
    }
    let mut carried = 0;
    for name in LIVE {
        let Some((source, target)) = open_pair(from, to, name)? else { continue };
        let shared = source.info().id == target.info().id;
        if !shared && source.info().kind == kinds::LRU_HASH && form(&source) == form(&target) {
            carried += carry::copy_new(name, &source, &target)?;
        }
    }
    Ok(carried)
}

fn open_pair(from: &Path, to: &Path, name: &str) -> Result<Option<(Map, Map)>, Error> {
    Ok(open_pinned(from, name)?.zip(open_pinned(to, name)?))
}

fn form(map: &Map) -> (u32, u32, u32) {
    let info = map.info();
    (info.kind, info.key_size, info.value_size)
}

/// The folder of the highest other schema: what an upgrade or a roll-back starts from.
fn newest_other(pins: &Pins) -> Result<Option<PathBuf>, Error> {
    let others = pins.schemas()?;
    Ok(others.into_iter().rfind(|schema| *schema != pins.schema()).map(|schema| pins.maps_of(schema)))
}

/// The folders whose maps were replaced by those in use.
fn replaced(pins: &Pins) -> Result<Vec<PathBuf>, Error> {
    let others = pins.schemas()?.into_iter().filter(|schema| *schema != pins.schema());
    let old = pins.schemas_with("-old")?;
    let folders = others.map(|schema| pins.maps_of(schema));
    Ok(folders.chain(old.into_iter().map(|schema| pins.maps_old(schema))).collect())
}

fn open_pinned(folder: &Path, name: &str) -> Result<Option<Map>, Error> {
    debug_assert!(all().any(|known| known == name), "{name} is a pinned map");
    let path = folder.join(name);
    match Map::open(&path) {
        Ok(map) => Ok(Some(map)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(Error::system("open pin", path.display())(error)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::system("rename", from.display()))
}
