"""llama.cpp's server: as a local binary, in a container, or run by its owner.

`local` and `container` launch it with the words of `argv`, as far as `flags` says it knows them;
`binary` and `files` find what would keep it from starting. `talker` asks it, `router` also lets it
unload, `log` reads why it ended.
"""
