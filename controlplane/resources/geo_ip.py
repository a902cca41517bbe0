"""`geoIP` of a `ClientPolicy`: where clients are, by the MaxMind databases of the Envoys."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from controlplane.resources.kinds import Fields
from controlplane.resources.matches import HeaderName

DatabasePath = Annotated[str, StringConstraints(pattern=r"^/[^\x00]{1,4000}$")]
"""On the machines of the Envoys, where it must be when they are told of it."""


class GeoHeaders(Fields):
    """Headers that tell where a client is. What clients write into them is taken away."""

    country: HeaderName | None = Field(default=None, description="Two letters, as in ISO 3166.")
    region: HeaderName | None = Field(
        default=None, description="The first subdivision, without the country."
    )
    city: HeaderName | None = Field(default=None, description="The name in English.")
    asn: HeaderName | None = Field(
        default=None, description="The number of the autonomous system, without `AS`."
    )

    @property
    def given(self) -> dict[str, str]:
        """Names of headers by what they tell."""
        return {what: name.lower() for what, name in self if name is not None}


class GeoIp(Fields):
    """Where a client is, by its address, as headers that routes can match."""

    city_database: DatabasePath | None = Field(
        default=None, description="A file with cities (GeoLite2-City.mmdb or alike)."
    )
    country_database: DatabasePath | None = Field(
        default=None, description="A file with countries; not needed where cities are known."
    )
    asn_database: DatabasePath | None = Field(
        default=None, description="A file with autonomous systems (GeoLite2-ASN.mmdb or alike)."
    )
    headers: GeoHeaders = Field(description="At least one.")

    @model_validator(mode="after")
    def _of_a_database(self) -> GeoIp:
        places = self.city_database or self.country_database
        wanted = {
            "country": (places, "countryDatabase or cityDatabase"),
            "region": (self.city_database, "cityDatabase"),
            "city": (self.city_database, "cityDatabase"),
            "asn": (self.asn_database, "asnDatabase"),
        }
        if not self.headers.given:
            raise ValueError("headers names none: say which header tells country, city or asn")
        for what in self.headers.given:
            database, field = wanted[what]
            if database is None:
                raise ValueError(f"headers.{what} needs {field}")
        return self
