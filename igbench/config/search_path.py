"""Make Hydra search the folders of the user before that of the package."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from igbench.config import folders


class OwnFolders(SearchPathPlugin):
    """Puts the folders of the user first; Hydra's own --config-dir would put them last."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folders that are searched at this moment."""
        for folder in reversed(folders.own()):
            search_path.prepend("igbench", f"file://{folder}")


def register() -> None:
    """Let every composition of this process search them."""
    Plugins.instance().register(OwnFolders)
