"""The families that can be exported, by name; a module each."""

from collections.abc import Mapping

from resonance.export.cards import FamilyCard, FamilyRecipe
from resonance.export.families import pretrained, tiny

#: Those that need no checkpoint.
FAMILIES: Mapping[str, FamilyCard] = {tiny.TINY.name: tiny.TINY}
#: Those that need checkpoints.
RECIPES: Mapping[str, FamilyRecipe] = {family.name: family.recipe() for family in pretrained.FAMILIES}
