"""The models in force, and what they take: by declaration, by their files, by what was learned."""
